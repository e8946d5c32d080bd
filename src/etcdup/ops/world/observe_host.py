"""Observe one host with the probe, and why its member does not run."""

from dataclasses import replace

from etcdup.core.etcd.log_messages import explain_starts
from etcdup.core.host.files import desired_paths
from etcdup.core.host.folders import observed_folders
from etcdup.core.host.port_faults import listen_pattern
from etcdup.core.host.programs import program_names
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.parse_marker import UnreadableMarker
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.observed.probe import probe_argv
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.core.spec.visible import one_line
from etcdup.errors import ForwardForbidden, RemoteError
from etcdup.ops.world.observe_members import observe_member
from etcdup.ops.world.world import World, read_starts
from etcdup.remote.host import Result

PROBE_TIMEOUT_S = 20.0


async def observe_host(
    world: World, host: HostSpec, pki: PkiSeen
) -> tuple[HostSeen | Unreachable, MemberSeen | MemberSilent]:
    """Return what the probe and the member of a host report."""
    seen = await _probe(world, host, pki)
    if not isinstance(seen, HostSeen):
        return seen, await observe_member(world, host.name)
    # The unit of an adopted member can have another name.
    if seen.unit.is_running or seen.is_adopted or world.observes_foreign:
        member = await observe_member(world, host.name)
    else:
        member = MemberSilent(_why_not_running(seen.unit))
        seen = replace(seen, no_route=await _find_no_route(world, host))
    if isinstance(member, MemberSilent) and seen.unit.has_failed:
        return seen, await _with_reason(world, host.name, seen.unit, member)
    return seen, member


async def _find_no_route(world: World, host: HostSpec) -> Unreachable | None:
    """Return why etcdup could not connect to the member if it ran, or None."""
    try:
        await world.check_route(host)
    except ForwardForbidden as error:
        return Unreachable(host.name, error.message, error.hint) if error.lasting else None
    except RemoteError:  # The next observation reports a lost connection.
        return None
    return None


def _why_not_running(unit: UnitSeen) -> str:
    if unit.queued:
        return f"etcd is not started yet: systemd waits for {awaited_units(unit)}"
    if unit.is_starting:
        return "etcd is starting"
    return "etcd does not run"


def awaited_units(unit: UnitSeen) -> str:
    """Return the units that systemd waits for before it starts etcd."""
    return ", ".join(unit.waits_for) or "other jobs of systemd"


async def _with_reason(world: World, name: str, unit: UnitSeen, silent: MemberSilent) -> MemberSilent:
    """Return why the member is silent, with the number of its starts and the reason that its log has."""
    why = silent.why
    if unit.active == "activating":
        state = "does not stay up" if unit.is_retrying else "is starting"
        count = "once" if unit.restarts == 0 else f"{unit.restarts + 1} times"
        why = f"etcd {state}: systemd started it {count}"
    shown, hint = explain_starts(await read_starts(world, name, unit, unit.restarts + 1), name)
    return MemberSilent(one_line(": ".join([why, *shown[-1:]])), silent.hint or hint, silent.lasting)


async def _probe(world: World, host: HostSpec, pki: PkiSeen) -> HostSeen | Unreachable:
    if host.name in world.unreachable:
        return world.unreachable[host.name]
    layout = layout_of(world.spec, host)
    files = desired_paths(host, layout, pki)
    # The other members on the same machine listen on the same ports as a local member. To find out which process
    # has which port takes too long there.
    spec = world.spec
    ports = () if host.root else (spec.client_port(host), spec.peer_port(host), spec.metrics_port(host))
    asked_at = world.clock.now()
    try:
        argv = probe_argv(
            layout, files, ports, observed_folders(layout), program_names(layout), listen_pattern(host)
        )
        result = await world.hosts[host.name].run(argv, timeout_s=PROBE_TIMEOUT_S)
        return parse_probe(host.name, result.stdout, layout, asked_at, world.clock.now())
    except RemoteError as error:
        return Unreachable(host.name, one_line(error.message.removeprefix(f"{host.name}: ")), error.hint)
    except UnreadableMarker as error:
        return Unreachable(
            host.name, f"{layout.marker} is not a marker of etcdup: {error}", _marker_hint(host.name)
        )
    except ValueError as error:
        return Unreachable(
            host.name, one_line(_unreadable(error, result)), _UNREADABLE_HINT.format(host=host.name)
        )


_UNREADABLE_HINT = "check that sh, coreutils and /proc work on {host}, then run the same command again"


def _unreadable(error: ValueError, result: Result) -> str:
    """Return why the output of the probe is unusable, with its status and what the host printed last."""
    said = result.stderr.strip().rpartition("\n")[2]
    ended = f"the probe exited with status {result.status}" if result.status else ""
    return "; ".join(filter(None, (str(error), ended, said)))


def _marker_hint(host: str) -> str:
    return (
        f"find out who wrote the file on {host}: only etcdup, as root, writes it. Then restore it, or copy it from "
        f"another member and set `member` to {host}"
    )
