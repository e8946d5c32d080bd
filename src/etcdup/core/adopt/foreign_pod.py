"""Which static pods can be taken over: exactly one manifest starts etcd, and the kubelet ends its pod without it."""

import re
from collections.abc import Iterator

from etcdup.core.adopt.model import HostProcesses, Process, StaticPod
from etcdup.core.adopt.refusals import is_stacked, refuse_stacked
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.plain_value import is_word
from etcdup.core.spec.visible import one_line

_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.service", re.ASCII)


def is_unit_name(name: str) -> bool:
    """Return whether the text can be the name of a service in a script."""
    return _UNIT_NAME.fullmatch(name) is not None


def refuse_pod(name: str, first: HostProcesses, process: Process, otherwise: str) -> Iterator[Refused]:
    """Yield why a pod cannot be taken over. `otherwise` is the hint that always helps."""
    pod = process.pod or StaticPod()
    if is_stacked(first):
        yield refuse_stacked(name)
    elif process.has_own_network:
        yield Refused(f"{name}: the pod of etcd does not have the network of the host", otherwise, name)
    elif not is_unit_name(pod.kubelet):
        message = (
            f"{name}: no unit of systemd runs a kubelet there, and only the kubelet ends the pod of etcd"
        )
        yield Refused(message, f"run `systemctl start kubelet` on {name}, and the same command again", name)
    elif len(pod.manifests) > 1:
        shown = one_line(", ".join(pod.manifests), 300)
        message = f"{name}: the kubelet has several manifests of this etcd: {shown}"
        hint = "move all of them except one to another directory: the kubelet starts each of them. Then run it again"
        yield Refused(message, hint, name)
    elif not pod.manifests:
        message = f"{name}: no manifest of a static pod has all arguments of etcd"
        yield Refused(message, otherwise, name)
    elif not is_word(pod.folder) or not is_word(pod.manifests[0]):
        message = (
            f"{name}: a path of its pod is missing, or has a character that etcdup does not accept: "
            f"{one_line(pod.manifests[0], 300)}"
        )
        yield Refused(message, otherwise, name)


def refuse_without_consent(name: str, pod: StaticPod) -> Refused:
    """Refuse the take-over of a static pod for which the operator has not passed `--static-pods`."""
    manifest = one_line(pod.manifests[0], 300)
    return Refused(
        f"{name}: the kubelet runs etcd from the static pod {manifest}",
        "run `etcdup adopt --take-over --static-pods`: it moves this manifest out of the directory of the kubelet",
        name,
    )
