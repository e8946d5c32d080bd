"""`adopt --to-tls`: how far a cluster with plain http is on its way to https, and what is next. Pure.

Each member also gets an https port for peers and one for clients, by one restart. Then the member list gets the https
peer URLs, and last it loses the http ones. http for clients stays until the take-over. So clients are never cut off,
and the members that do not restart are a quorum. The same inspection gives the same step: nothing is remembered.
https://etcd.io/docs/latest/op-guide/security/, tests/local/test_plain_peers.py
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from etcdup.core.adopt.foreign_pod import is_unit_name
from etcdup.core.adopt.member import Member, Url
from etcdup.core.adopt.refusals import has_https_for_clients, refuse_cluster
from etcdup.core.adopt.settings import arguments_of
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.address import is_loopback
from etcdup.core.spec.plain_value import is_member_url
from etcdup.core.spec.version import Version
from etcdup.core.spec.visible import one_line

TLS_FOLDER = "/etc/etcd-to-tls"
CA, CERT, KEY = (f"{TLS_FOLDER}/{name}" for name in ("ca.pem", "member.pem", "member-key.pem"))
GUIDE = "follow `Plain http by hand` in docs/guides/adopt.md"
_PORTS = range(2382, 2400)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_ARGUMENT = re.compile(r"[\x20-\x7e]{1,8192}")
# Earlier ones serve gRPC over http on a port that also has https only by chance.
# https://github.com/etcd-io/etcd/pull/15517 and 15518, tests/local/test_http_and_https.py
_FIRST_WITH_BOTH = (Version(3, 4, 25), Version(3, 5, 8))

StepName = Literal["restart", "add", "remove", "done"]


@dataclass(frozen=True)
class MemberStep:
    """A member and what it still needs: `flags` are the settings of its restart, and `urls` its next peer URLs."""

    member: Member
    flags: Mapping[str, str]
    urls: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of etcd without `flags`: etcd does not start if a flag and its variable are set."""
        return tuple(
            f"--{flag}={value}" for flag, value in arguments_of(self.member.process) if flag not in self.flags
        )

    @property
    def changes_arguments(self) -> bool:
        return len(self.arguments) != len(list(arguments_of(self.member.process)))


@dataclass(frozen=True)
class ToTls:
    """The next step, and the members that it changes, in their order. `restart` changes the first one only."""

    step: StepName
    left: tuple[MemberStep, ...]


def next_step(members: Sequence[Member], now: datetime) -> ToTls | tuple[Refused, ...]:
    """Return the next step of this cluster, or all reasons against it."""
    if refused := (*refuse_cluster(members, now, to_tls=True), *_refuse(members)):
        return refused
    steps = [MemberStep(each, _flags(each, members)) for each in members]
    if waiting := tuple(each for each in steps if not _listens(each.member)):
        return ToTls("restart", waiting)
    wanted = [(each, (*each.listed.peer_urls, https_peer_url(each))) for each in members]
    if adding := _updates((m, urls) for m, urls in wanted if urls[-1] not in m.listed.peer_urls):
        return ToTls("add", adding)
    if removing := _updates((m, (urls[-1],)) for m, urls in wanted if urls[-1:] != m.listed.peer_urls):
        return ToTls("remove", removing)
    return ToTls("done", ())


def https_peer_url(member: Member) -> str:
    """Return the https peer URL of a member that listens on one."""
    listed = [url for url in member.listed.peer_urls if url.startswith("https://")]
    port = next((url.port for url in member.urls("listen-peer-urls") if url.scheme == "https"), 0)
    return listed[0] if listed else f"https://{netloc(member.peer.host, port)}"


def serves_both_on_one_port(version: Version) -> bool:
    """Return whether clients can use http and https on one port."""
    first = next((each for each in _FIRST_WITH_BOTH if each.series == version.series), max(_FIRST_WITH_BOTH))
    return version >= first


def netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_url(member: Member, scheme: str) -> str:
    """Return the URL at which clients of other hosts connect with this scheme, empty if there is none."""
    for url in member.urls("listen-client-urls"):
        if url.scheme == scheme and not is_loopback(url.host):
            return f"{scheme}://{netloc(member.peer.host, url.port)}"
    return ""


def _updates(wanted: Iterator[tuple[Member, tuple[str, ...]]]) -> tuple[MemberStep, ...]:
    return tuple(MemberStep(member, {}, urls) for member, urls in wanted)


def has_https_for_peers(member: Member) -> bool:
    return any(url.scheme == "https" for url in member.urls("listen-peer-urls"))


def _flags(member: Member, members: Sequence[Member]) -> dict[str, str]:
    """Return the settings that a member has after its restart: those of each side that has no files of its own."""
    found: dict[str, str] = {}
    if not has_https_for_peers(member) or member.path("peer-cert-file") == CERT:
        port = _https_port(members, "peer-cert-file", "listen-peer-urls", 0)
        found |= _files("peer-")
        found["listen-peer-urls"] = ",".join(_with_https(member, "listen-peer-urls", port))
    if not has_https_for_clients(member) or member.path("cert-file") == CERT:
        port = _https_port(members, "cert-file", "listen-client-urls", 1)
        if serves_both_on_one_port(member.version):
            port = 0
        found |= _files("") | {
            "listen-client-urls": ",".join(_with_https(member, "listen-client-urls", port))
        }
        if port:  # the draft of an adoption takes the port from the member list
            secure = f"https://{netloc(member.peer.host, port)}"
            found["advertise-client-urls"] = ",".join(dict.fromkeys((*member.listed.client_urls, secure)))
    return found


def _files(prefix: str) -> dict[str, str]:
    values = (("trusted-ca-file", CA), ("cert-file", CERT), ("key-file", KEY))
    return {prefix + flag: path for flag, path in values} | {f"{prefix}client-cert-auth": "true"}


def _with_https(member: Member, flag: str, port: int) -> tuple[str, ...]:
    """Return the URLs that a member listens on, and https on `port` of each address. Port 0: on the same port."""
    urls = member.urls(flag)
    if any(url.scheme == "https" for url in urls):
        return tuple(url.text for url in urls)
    added = [
        f"https://{netloc(url.host, port or url.port)}"
        for url in urls
        if not is_loopback(url.host) or is_loopback(member.peer.host)
    ]
    return tuple(dict.fromkeys((*(url.text for url in urls), *added)))


def _https_port(members: Sequence[Member], files: str, flag: str, offset: int) -> int:
    """Return the port for https that members have after their restart. Otherwise the first ports that none has."""
    for member in members:
        if member.path(files) == CERT:
            return next(url.port for url in member.urls(flag) if url.scheme == "https")
    used = {url.port for each in members for url in _all_urls(each)}
    return next(port for port in _PORTS if not used & {port, port + 1}) + offset


def _all_urls(member: Member) -> Iterator[Url]:
    for flag in ("listen-peer-urls", "listen-client-urls", "listen-metrics-urls"):
        yield from member.urls(flag)


def _listens(member: Member) -> bool:
    return has_https_for_peers(member) and has_https_for_clients(member)


def _refuse(members: Sequence[Member]) -> Iterator[Refused]:
    for member in members:
        yield from _of_unit(member)
        yield from _of_urls(member)
    if len({bool(client_url(each, "http")) for each in members}) > 1 and not any(map(is_prepared, members)):
        message = "some members serve clients with http, others do not"
        yield Refused(message, "give all members the same listeners for clients")


def is_prepared(member: Member) -> bool:
    """Return whether a member has files of an earlier step."""
    return CERT in (member.path("cert-file"), member.path("peer-cert-file"))


def _of_unit(member: Member) -> Iterator[Refused]:
    """Refuse a process whose settings a drop-in of its unit cannot change."""
    process, name = member.process, member.name
    unit = process.unit
    if process.container or process.is_pod:
        place = "a static pod" if process.is_pod else "a container"
        yield Refused(f"{name}: etcd runs in {place}: etcdup has no commands for it", GUIDE, name)
    elif unit is None or unit.properties.get("MainPID") != str(process.pid) or not is_unit_name(unit.name):
        yield Refused(f"{name}: no unit of systemd starts etcd itself", GUIDE, name)
    elif unit.properties.get("NeedDaemonReload") == "yes":
        message = (
            f"{name}: {unit.name} changed on the disk since systemd read it: a restart would change more"
        )
        yield Refused(message, f"run `systemctl daemon-reload` and restart {unit.name} first", name)
    if process.config:
        shown = one_line(process.config.path, 200)
        message = f"{name}: its settings are in {shown}: etcd then ignores variables and flags"
        yield Refused(message, GUIDE, name)
    if process.exe.endswith(" (deleted)"):
        message = f"{name}: its program was replaced since etcd started: a restart runs another program"
        yield Refused(message, "restart the member with the tool that made it first", name)
    if not _USER.fullmatch(process.user) or not all(map(_ARGUMENT.fullmatch, (process.exe, *process.argv))):
        yield Refused(f"{name}: its user or its arguments cannot be written into a unit", GUIDE, name)


def _of_urls(member: Member) -> Iterator[Refused]:
    name, urls = member.name, member.listed.peer_urls
    texts = [*urls, *member.listed.client_urls, *(url.text for url in _all_urls(member))]
    if wrong := [each for each in texts if not is_member_url(each)]:
        yield Refused(f"{name}: `{one_line(wrong[0], 200)}` cannot be written into a unit", GUIDE, name)
    if len({each.partition(":")[0] for each in urls}) != len(urls):
        message = f"{name}: it has {len(urls)} peer URLs with the same scheme ({', '.join(urls)})"
        yield Refused(message, "keep one with `etcdctl member update`", name)
    if not client_url(member, "http") and not client_url(member, "https"):
        message = f"{name}: no client of another host can connect to it"
        yield Refused(message, "set `listen-client-urls` to an address of the host", name)
    if not has_https_for_peers(member) and member.path("peer-cert-file") not in ("", CERT):
        message = f"{name}: it has a peer certificate, and does not listen on https for peers"
        yield Refused(message, GUIDE, name)
