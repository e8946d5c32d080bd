"""Probe the links between members: from each host a new handshake with every other member, on both of its ports.

A client port is probed by etcdctl on the host, with the health certificate there. No tool on a host can probe a peer
port. So etcdup does that handshake itself, with the host's peer certificate, through the host's SSH connection. To the
other member both look the same: it verifies the address of the client too (rule 18).
"""

import asyncio
import json
from collections.abc import Awaitable, Iterator

from etcdup.core.certs.inventory import Link
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.errors import ForwardForbidden, RemoteError
from etcdup.ops.certs.link_probe import probe_link
from etcdup.ops.world.world import World

# The timeout of etcdctl. That of the SSH command is longer, so that etcdctl can report its error first.
LINK_TIMEOUT_S = 3.0
_NOT_FOUND_STATUS = 127
_INSTALL = "run `etcdup apply`: it installs the missing programs of etcd"
_RUN_BY_HAND = "run `etcdctl endpoint health` on that host to see why etcdctl does not work there"
_HANDSHAKE_FAILED = "authentication handshake failed: "
# Answers of a member that is connected: etcdctl then calls it unhealthy for another reason than the link.
_ANSWERED = ("Active Alarm(s)", "Unable to fetch the alarm list", "etcdserver: ")


async def probe_links(world: World, observed: Observed) -> list[Link]:
    """Probe both ports of every other member, from each host where etcd is installed or runs. Raises PkiError."""
    probes = [*_client_links(world, observed), *_peer_links(world, observed)]
    return [link for found in await asyncio.gather(*probes) for link in found]


def _client_links(world: World, observed: Observed) -> Iterator[Awaitable[list[Link]]]:
    """Yield a probe from each host that has etcdctl of etcdup. It uses the health certificate."""
    for host in world.spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.current and not seen.is_adopted and world.spec.size > 1:
            yield _probe_client_links(world, host)


def _peer_links(world: World, observed: Observed) -> Iterator[Awaitable[list[Link]]]:
    for source in world.spec.hosts:
        seen = observed.reachable().get(source.name)
        if seen is None or not (seen.current or seen.unit.is_running):
            continue
        if f"peer/{source.name}" not in observed.pki.certs:
            continue
        yield from (
            _probe_peer_link(world, source, target) for target in world.spec.hosts if target != source
        )


async def _probe_peer_link(world: World, source: HostSpec, target: HostSpec) -> list[Link]:
    try:
        return [Link(source.name, target.name, await probe_link(world, source, target, "peer"), "peer")]
    except ForwardForbidden as error:
        return [Link(source.name, target.name, error.message, "peer", error.hint)]


async def _probe_client_links(world: World, host: HostSpec) -> list[Link]:
    spec, layout = world.spec, layout_of(world.spec, host)
    others = {spec.client_url(other): other.name for other in spec.hosts if other.name != host.name}
    argv = [
        "env", "-i", f"{layout.current}/etcdctl", f"--endpoints={','.join(others)}", f"--cacert={layout.ca()}",
        f"--cert={layout.cert('health')}", f"--key={layout.key('health')}", "--write-out=json",
        f"--dial-timeout={LINK_TIMEOUT_S:.0f}s", f"--command-timeout={LINK_TIMEOUT_S:.0f}s",
        "endpoint", "health",
    ]  # fmt: skip
    try:
        result = await world.hosts[host.name].run(argv, timeout_s=LINK_TIMEOUT_S * 4)
    except RemoteError as error:
        return [Link(host.name, name, error.message, "client", _RUN_BY_HAND) for name in others.values()]
    answers = _parse_answers(result.stdout)
    if not answers.keys() & others.keys():
        why = f"etcdctl gave no answer (exit status {result.status}): {_last_words(result.stderr)}"
        fix = _INSTALL if result.status == _NOT_FOUND_STATUS else _RUN_BY_HAND
        return [Link(host.name, name, why, "client", fix) for name in others.values()]
    return [Link(host.name, name, _why(answers.get(url), result.stderr)) for url, name in others.items()]


def _last_words(stderr: str) -> str:
    """Return the last line that etcdctl printed. Of a line in JSON it is only the message."""
    line = stderr.strip().rpartition("\n")[2]
    try:
        return str(json.loads(line)["msg"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return line


def _parse_answers(stdout: str) -> dict[str, dict[str, object]]:
    try:
        return {each["endpoint"]: each for each in json.loads(stdout)}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def _why(answer: dict[str, object] | None, stderr: str) -> str:
    """Return why there is no link, or an empty text. etcdctl often reports only a timeout; its log has the cause.

    A link is good if the member answered. `check` reports alarms and members without a leader on its own.
    """
    problem = str((answer or {}).get("error") or "")
    if answer is not None and (answer.get("health") or problem.startswith(_ANSWERED)):
        return ""
    if _HANDSHAKE_FAILED in stderr:
        return "handshake failed: " + stderr.split(_HANDSHAKE_FAILED)[-1].split('"')[0].split("\n")[0]
    return problem or "no healthy answer"
