"""What cannot be adopted, and what to do instead. Each guard sees facts of the inspection only."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from etcdup.core.adopt.member import DEFAULT_PEER_URL, Member, host_path, member_processes, parse_url
from etcdup.core.adopt.model import HostProcesses, Inspected, Process
from etcdup.core.adopt.settings import Settings, is_on, settings_of_process, urls_of
from etcdup.core.audit.settings import PEER_CERTIFICATES
from etcdup.core.certs.inventory import CertFacts
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.address import is_loopback
from etcdup.core.spec.version import NEWEST, Version
from etcdup.core.spec.visible import one_line

LEAST_VALID = timedelta(days=7)
_RESTORE = "take a snapshot with the tool that runs etcd, and run `etcdup restore FILE` on hosts of their own"
_TO_TLS = "run `etcdup adopt HOST... --to-tls`: it prints the commands that add https, without an outage"
_EXCHANGE = "add a host of its own to the cluster, then remove this member with the tool that made it"


def refuse_host(first: HostProcesses, *, to_tls: bool = False) -> tuple[Refused, ...]:
    """Refuse a host whose etcd is part of another program, or that has not exactly one member.

    `to_tls`: its member changes from http to https, so http is no reason.
    """
    return tuple(_of_host(first, to_tls))


def _of_host(first: HostProcesses, to_tls: bool) -> Iterator[Refused]:
    host, processes = first.host, member_processes(first)
    if first.marker is not None and not first.marker.adopted:
        message = f"{host}: it already belongs to cluster {first.marker.cluster}, as its member {first.marker.member}"
        yield Refused(message, "use the cluster.yaml of that cluster", host)
    elif first.embedded and all(_is_of_distribution(each) for each in processes):
        program = first.embedded[0].removesuffix("-server")
        message = f"{host}: {program} starts etcd, names its members and removes them by itself"
        yield Refused(message, _RESTORE, host)
    elif not processes:
        yield Refused(
            f"{host}: no etcd runs there", "name the hosts that run etcd, or start etcd there first", host
        )
    elif len(processes) > 1:
        units = ", ".join(f"{_place(each)} (pid {each.pid})" for each in processes)
        message = (
            f"{host}: it has {len(processes)} processes of etcd: {one_line(units)}. etcdup runs one on a host"
        )
        yield Refused(message, "move the other members to hosts of their own", host)
    else:
        yield from _of_process(first, processes[0], to_tls)


def _is_of_distribution(process: Process) -> bool:
    return any(word in f"{process.exe} {' '.join(process.argv)}" for word in ("/k0s/", "/rancher/"))


def _place(process: Process) -> str:
    return process.unit.name if process.unit else process.container_name or process.exe


def _of_process(first: HostProcesses, process: Process, to_tls: bool) -> Iterator[Refused]:
    host = first.host
    if process.exe.startswith("/snap/") or any("/var/snap/" in word for word in process.argv):
        owner = " of Juju" if first.owners.juju else ""
        message = f"{host}: etcd is a snap{owner}: snapd refreshes its program and rewrites its settings"
        yield Refused(message, _RESTORE, host)
    elif process.exe.startswith("/opt/bitnami/"):
        message = f"{host}: a stop of its container removes the member from the cluster, by its prestop hook"
        yield Refused(message, _EXCHANGE, host)
    elif process.is_pod and is_stacked(first):
        yield refuse_stacked(host)
    elif process.has_own_network:
        name = one_line(process.container_name or "of its own", 64)
        message = f"{host}: etcd runs in container {name}, which does not have the network of the host"
        yield Refused(message, _EXCHANGE, host)
    else:
        yield from _of_settings(host, settings_of_process(process), to_tls)


def _of_settings(name: str, settings: Settings, to_tls: bool) -> Iterator[Refused]:
    """Refuse settings that no cluster.yaml can describe, or that are dangerous now."""
    peers = urls_of(settings, "listen-peer-urls", DEFAULT_PEER_URL)
    if all(url.startswith("http://") for url in peers) and not to_tls:
        message = (
            f"{name}: the members send plain http to each other ({', '.join(peers)}); etcdup runs TLS only"
        )
        yield Refused(one_line(message), _TO_TLS, name)
    elif is_on(settings, "peer-auto-tls"):
        message = f"{name}: members accept any certificate of each other (peer-auto-tls)"
        yield Refused(message, PEER_CERTIFICATES, name)
    for flag, effect in (
        ("force-new-cluster", "its next start forms a cluster of its own"),
        ("unsafe-no-fsync", "a power failure loses writes that etcd has acknowledged"),
    ):
        if is_on(settings, flag):
            message = f"{name}: `{flag}` is in the settings of etcd: {effect}"
            yield Refused(message, f"remove `{flag}` there now", name)


def refuse_stacked(host: str) -> Refused:
    """Refuse a member that kubeadm manages together with its apiserver."""
    message = (
        f"{host}: the member belongs to a Kubernetes control plane: kubeadm adds, removes and rewrites it"
    )
    hint = (
        "add hosts of their own to the cluster, point the apiservers to them, then remove the stacked members"
    )
    return Refused(message, hint, host)


def is_stacked(first: HostProcesses) -> bool:
    """Whether the apiserver on the same host uses this member: kubeadm then manages both."""
    return any(path.endswith("/kube-apiserver.yaml") for path in first.owners.manifests) and (
        not first.owners.apiserver_etcd
        or "127.0.0.1" in first.owners.apiserver_etcd
        or "localhost" in first.owners.apiserver_etcd
    )


def refuse_unreadable(host: str, why: str) -> Refused:
    """Refuse a host with something that etcdup cannot read, or that etcd does not write."""
    return Refused(
        f"{host}: not readable: {why}",
        "inspect it again; compare with `etcd --help` and the log of etcd",
        host,
    )


def refuse_files(inspected: Inspected, folders: Sequence[str]) -> tuple[Refused, ...]:
    """Refuse a container whose data is not in a directory of the host."""
    process = inspected.process
    if not process.container:
        return ()
    for folder in folders:
        path = host_path(process, folder)
        if not path or "/volumes/" in path or "/overlay" in path:
            name = one_line(process.container_name, 64)
            message = f"{inspected.host}: {folder} of container {name} is not a directory of the host"
            return (Refused(message, _EXCHANGE, inspected.host),)
    return ()


def refuse_unnamed(members: Sequence[Member], option: str = "--dry-run") -> tuple[Refused, ...]:
    """Refuse a draft without all members. The operator names their hosts, or confirms those of the list."""
    if not (missing := unnamed_members(members)):
        return ()
    named = " ".join((*(each.inspected.host for each in members), *missing.values()))
    shown = ", ".join(f"{name} at {host}" for name, host in missing.items())
    return (
        Refused(
            f"the cluster has more members: {shown}",
            f"run `etcdup adopt {named} {option}` to inspect all of them",
        ),
    )


def unnamed_members(members: Sequence[Member]) -> dict[str, str]:
    """Return the members that were not inspected, each with the host of its peer URL, as the other hosts report it."""
    seen = {each.listed.member_id for each in members}
    listed = {each.member_id: each for member in members for each in member.inspected.answer.members}
    return {
        each.name or f"{each.member_id:x}": parse_url(each.peer_urls[0]).host
        for each in sorted(listed.values(), key=lambda each: each.name)
        if each.member_id not in seen
    }


def refuse_cluster(members: Sequence[Member], now: datetime, *, to_tls: bool = False) -> tuple[Refused, ...]:
    """Refuse a cluster that cannot be adopted as it is. `to_tls`: its members change from http to https first."""
    return (
        *_of_identity(members),
        *(each for m in members for each in _of_member(m, now)),
        *(each for m in members if not to_tls for each in _of_urls(m)),
        *_of_size(members),
    )


def _of_identity(members: Sequence[Member]) -> Iterator[Refused]:
    ids = {each.inspected.answer.cluster_id for each in members}
    if len(ids) > 1:
        shown = ", ".join(f"{m.inspected.host} is in {m.inspected.answer.cluster_id}" for m in members)
        yield Refused(
            f"the hosts are not of one cluster: {shown}",
            "name the hosts of one cluster, and inspect it again",
        )
        return
    by_id: dict[int, list[str]] = {}
    for each in members:
        by_id.setdefault(each.listed.member_id, []).append(each.inspected.host)
    for member_id, hosts in by_id.items():
        if len(hosts) > 1:
            message = f"{' and '.join(hosts)} are the same member, {member_id:x}"
            yield Refused(message, "name each host once")
    if len({_lists_of(each) for each in members}) > 1:
        yield Refused(
            "the members report different member lists",
            "wait until all members have the same, and inspect it again",
        )
    versions = {each.version for each in members}
    if len(versions) > 1:
        shown = ", ".join(f"{m.name} runs {m.version}" for m in members)
        yield Refused(f"the members run different versions: {shown}", "finish the upgrade first")


def _lists_of(member: Member) -> tuple[tuple[int, tuple[str, ...]], ...]:
    return tuple((each.member_id, tuple(sorted(each.peer_urls))) for each in member.inspected.answer.members)


def _of_size(members: Sequence[Member]) -> Iterator[Refused]:
    listed = members[0].inspected.answer.members
    for each in listed:
        if not each.name:
            message = f"member {each.member_id:x} ({each.peer_urls[0]}) was added and has never started"
            yield Refused(message, "start it, or remove it with `etcdctl member remove`")
        elif each.is_learner:
            message = f"member {each.name} is a learner, which has no vote"
            yield Refused(message, "promote it with `etcdctl member promote`, or remove it")
    names = [each.name for each in listed if each.name]
    for name in sorted({name for name in names if names.count(name) > 1}):
        message = f"{names.count(name)} members have the name `{name}`"
        yield Refused(message, "give each a name of its own: set `name` in its settings, and restart it")
    if len(listed) % 2 == 0:
        message = (
            f"the cluster has {len(listed)} members, which tolerate no more failures than {len(listed) - 1}"
        )
        yield Refused(message, "add or remove one with `etcdctl member`, then inspect it again")
    elif len(listed) > 7:
        yield Refused(
            f"the cluster has {len(listed)} members; etcdup manages at most 7", "remove members first"
        )


def _of_member(member: Member, now: datetime) -> Iterator[Refused]:
    name = member.name
    if member.version.series not in NEWEST:
        message = f"{name}: etcd {member.version} is not a version that etcdup supports"
        yield Refused(message, _version_hint(member.version), name)
    yield from _of_certificates(member, now)


def _version_hint(version: Version) -> str:
    """Return what to do about a version that etcdup does not know. etcd skips no minor version."""
    oldest = min(NEWEST)
    if version.series > oldest:
        return "install an etcdup that supports it"
    return (
        f"upgrade all members to {NEWEST[oldest]} first, one minor version after the other, with the tool that made "
        "them and the upgrade guides of etcd (https://etcd.io/docs/latest/upgrades). Then run the same command again"
    )


def _of_urls(member: Member) -> Iterator[Refused]:
    name, urls = member.name, member.listed.peer_urls
    if len(urls) > 1:
        message = (
            f"{name}: it has {len(urls)} peer URLs ({', '.join(urls)}); cluster.yaml has one for each host"
        )
        is_changing = any(url.startswith("http://") for url in urls)
        yield Refused(message, _TO_TLS if is_changing else "keep one with `etcdctl member update`", name)
    elif member.peer.scheme == "http":
        message = f"{name}: its peer URL in the member list is {member.peer.text}; etcdup runs TLS only"
        yield Refused(message, _TO_TLS, name)
    elif member.client is None:
        yield Refused(
            f"{name}: it advertises no client URL", "set `advertise-client-urls`, and restart it", name
        )
    elif member.client.host != member.peer.host:
        both = f"peers connect to {member.peer.host}, clients to {member.client.host}"
        message = f"{name}: {both}; cluster.yaml has one address for both"
        yield Refused(
            message, "set `advertise-client-urls` to the address of the peer URL, and restart it", name
        )
    elif not has_https_for_clients(member):
        message = f"{name}: clients can connect with plain http only; etcdup connects with TLS"
        yield Refused(message, _TO_TLS, name)


def has_https_for_clients(member: Member) -> bool:
    """Return whether clients of other hosts can connect with https."""
    return any(
        url.scheme == "https" and (not is_loopback(url.host) or is_loopback(member.peer.host))
        for url in member.urls("listen-client-urls")
    )


def _of_certificates(member: Member, now: datetime) -> Iterator[Refused]:
    for path, certs in _leaves(member).items():
        ends = min(each.cert.not_after for each in certs)
        if ends - now < LEAST_VALID:
            message = (
                f"{member.name}: the certificate {path} expires {ends:%Y-%m-%d}; etcdup cannot renew it yet"
            )
            yield Refused(message, "renew it in the way it was made, then inspect it again", member.name)


def _leaves(member: Member) -> Mapping[str, Sequence[CertFacts]]:
    paths = {member.path("cert-file"), member.path("peer-cert-file")}
    return {path: certs[:1] for path, certs in member.inspected.certs.items() if path in paths and certs}
