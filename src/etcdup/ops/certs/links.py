"""The ways between members: from each member's host a new handshake with every other, on its client and its peer port.

A client port is asked by the host's own etcdctl, with the certificate that lies there for that. No tool on a host could
ask a peer port: there the bytes alone go by the host, through its SSH connection, and it is greeted from here with the
host's own peer certificate. To the other member that is one and the same (rule 18: it judges the address as well).
"""

import asyncio
import json
from collections.abc import Awaitable, Iterator

from etcdup.core.certs.inventory import Link
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.errors import RemoteError
from etcdup.ops.certs.link_probe import probe_link
from etcdup.ops.world.world import World

# Of etcdctl; ours is longer, so that it can say what was the matter.
LINK_TIMEOUT_S = 3.0
_HANDSHAKE_FAILED = "authentication handshake failed: "


async def probe_links(world: World, observed: Observed) -> list[Link]:
    """Both ports of every other member, from each host where etcd is or runs. Raises PkiError."""
    asked = [*_client_links(world, observed), *_peer_links(world, observed)]
    return [link for found in await asyncio.gather(*asked) for link in found]


def _client_links(world: World, observed: Observed) -> Iterator[Awaitable[list[Link]]]:
    """From where there is an etcdctl: health's certificate is for that."""
    for host in world.spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.current and world.spec.size > 1:
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
    return [Link(source.name, target.name, await probe_link(world, source, target, "peer"), "peer")]


async def _probe_client_links(world: World, host: HostSpec) -> list[Link]:
    spec, layout = world.spec, layout_of(world.spec, host)
    others = {spec.client_url(other): other.name for other in spec.hosts if other.name != host.name}
    argv = [
        f"{layout.current}/etcdctl", f"--endpoints={','.join(others)}", f"--cacert={layout.ca()}",
        f"--cert={layout.cert('health')}", f"--key={layout.key('health')}", "--write-out=json",
        f"--dial-timeout={LINK_TIMEOUT_S:.0f}s", f"--command-timeout={LINK_TIMEOUT_S:.0f}s",
        "endpoint", "health",
    ]  # fmt: skip
    try:
        result = await world.hosts[host.name].run(argv, timeout_s=LINK_TIMEOUT_S * 4)
    except RemoteError as error:
        return [Link(host.name, name, error.message) for name in others.values()]
    answers = _parse_answers(result.stdout)
    nothing = result.stderr.strip().rpartition("\n")[2] or "etcdctl gave no answer"
    return [
        Link(host.name, name, _why(answers.get(url), result.stderr) if url in answers else nothing)
        for url, name in others.items()
    ]


def _parse_answers(stdout: str) -> dict[str, dict[str, object]]:
    try:
        return {each["endpoint"]: each for each in json.loads(stdout)}
    except (ValueError, TypeError, KeyError):
        return {}


def _why(answer: dict[str, object] | None, stderr: str) -> str:
    """Why there is no link; empty if there is. etcdctl's own error is often but a deadline: its log says more."""
    if answer is not None and answer.get("health"):
        return ""
    if _HANDSHAKE_FAILED in stderr:
        return "handshake failed: " + stderr.split(_HANDSHAKE_FAILED)[-1].split('"')[0].split("\n")[0]
    return str((answer or {}).get("error") or "no healthy answer")
