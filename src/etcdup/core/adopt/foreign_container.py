"""Which containers of docker and podman can be taken over: the engine must not start them again by itself."""

from collections.abc import Iterator

from etcdup.core.adopt.model import Container, Process
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.visible import one_line


def refuse_container(name: str, process: Process, otherwise: str) -> Iterator[Refused]:
    """Yield why a container cannot be taken over. `otherwise` is the hint that always helps."""
    engine = process.engine
    if engine is None or not engine.name:
        container = one_line(process.container_name, 64)
        message = f"{name}: etcd runs in container {container}, and neither docker nor podman of root has it"
        yield Refused(message, otherwise, name)
        return
    shown = f"container {engine.name} of {engine.engine}"
    if process.has_own_network:
        yield Refused(f"{name}: {shown} does not have the network of the host", otherwise, name)
    if len(engine.units) > 1:
        units = one_line(", ".join(engine.units), 300)
        hint = "disable all of them except the one that starts it, and run the same command again"
        yield Refused(f"{name}: several units start {shown}: {units}", hint, name)
    yield from _refuse_restart(name, shown, engine)


def _refuse_restart(name: str, shown: str, engine: Container) -> Iterator[Refused]:
    if engine.is_removed:
        if not engine.units:
            message = (
                f"{name}: {engine.engine} deletes {shown} when it stops, and no unit of systemd starts it"
            )
            yield Refused(message, "start it with a unit in /etc/systemd/system", name)
    elif engine.prevents == "boot" and engine.restart in ("always", "unless-stopped"):
        message = (
            f"{name}: podman-restart.service starts {shown} at each boot, and this podman cannot change that"
        )
        hint = (
            "start it with a unit and without `--restart`, as `podman generate systemd --new` makes one, or run "
            "`systemctl disable podman-restart.service` if no other container needs it"
        )
        yield Refused(message, hint, name)
