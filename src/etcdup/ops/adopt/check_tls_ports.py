"""Check that each member can connect to the https peer port of each other member. It only reads."""

import asyncio
from collections.abc import Mapping, Sequence

from etcdup.core.adopt.member import TLS_FILES, Member
from etcdup.core.adopt.model import Unreadable
from etcdup.core.adopt.parse_files import parse_files
from etcdup.core.adopt.scripts import files_argv
from etcdup.core.adopt.to_tls import https_peer_url
from etcdup.core.plan.plan import Refused
from etcdup.ops.adopt.inspect_hosts import INSPECTION_TIMEOUT_S
from etcdup.remote.host import Host


async def refuse_closed_ports(hosts: Mapping[str, Host], members: Sequence[Member]) -> tuple[Refused, ...]:
    """Return each connection that fails, from the host and with the certificate of a member. Raise RemoteError."""
    pairs = [(one, other) for one in members for other in members if one is not other]
    found = await asyncio.gather(
        *(_refuse_closed(hosts[one.inspected.host], one, other) for one, other in pairs)
    )
    return tuple(each for refused in found for each in refused)


async def _refuse_closed(host: Host, member: Member, other: Member) -> tuple[Refused, ...]:
    url = https_peer_url(other)
    argv = files_argv(
        member.process.pid,
        member.process.root,
        certs=(),
        keys=(),
        folders=(),
        urls=(url,),
        tls=[member.path(f"peer-{flag}") for flag in TLS_FILES],
    )
    result = await host.run(argv, timeout_s=INSPECTION_TIMEOUT_S)
    try:
        answer = parse_files(result.check().stdout).answer
        why = answer.why or (
            "" if answer.cluster_id == member.inspected.answer.cluster_id else "another cluster answers"
        )
    except Unreadable as fault:
        why = str(fault)
    if not why:
        return ()
    prefix = f"{url}: "
    message = f"{member.name} cannot connect to {other.name} at {url}: {why.removeprefix(prefix)}"
    hint = (
        f"permit connections from {member.peer.host} to {url} in all firewalls, and give both members certificates of "
        "one CA. Then run the same command again"
    )
    return (Refused(message, hint, member.name),)
