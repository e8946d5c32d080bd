"""The ports of other members must be reachable before etcd is installed: a firewall is the most frequent cause."""

from collections.abc import Iterator, Mapping

from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.peer_ports import BlockedPort
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import HostSpec, Spec

# The variable of a process that has its own peer URL.
PEER_URLS = "ETCD_INITIAL_ADVERTISE_PEER_URLS"
# Parts of the errors of getaddrinfo(3).
_NAME_FAULTS = ("not known", "resol", "hostname")


def changed_hosts(spec: Spec, observed: Observed) -> frozenset[str]:
    """Return the hosts that get a new member, or whose member gets another address."""
    new = (name for name, seen in observed.reachable().items() if seen.marker is None)
    return moved_hosts(spec, observed).union(new).intersection(host.name for host in spec.hosts)


def moved_hosts(spec: Spec, observed: Observed) -> frozenset[str]:
    """Return the hosts whose process has another address than cluster.yaml."""
    seen = observed.reachable()
    return frozenset(
        host.name
        for host in spec.hosts
        if host.name in seen and is_at_previous_address(spec, host, seen[host.name])
    )


def is_at_previous_address(spec: Spec, host: HostSpec, seen: HostSeen) -> bool:
    """Return whether the process has another peer URL than cluster.yaml."""
    own = spec.peer_url(host)
    return seen.unit.environment.get(PEER_URLS, own) != own


def tried_ports(spec: Spec, source: HostSpec, new: frozenset[str]) -> dict[tuple[str, int], str]:
    """Return what a host tries: address and peer port of each other host, if one of the two is new, with its name.

    Members do not use the client ports of each other, so a firewall may keep these closed between them.
    """
    return {
        (target.address, spec.peer_port(target)): target.name
        for target in spec.hosts
        if target.name != source.name and (source.name in new or target.name in new)
        if not target.root
    }


def refuse_blocked_ports(spec: Spec, observed: Observed, host: str = "") -> Iterator[Refused]:
    """Refuse a new member if ports are not reachable: one reason for each host that is not reached.

    With `host`, only the ports from and to this host count.
    """
    blocked = [each for each in observed.blocked_ports if host in ("", each.source, each.target)]
    for target in spec.hosts:
        own = [each for each in blocked if each.target == target.name]
        if own:
            yield _refused(spec, target, own, observed.firewalls.get(target.name, ""))


def refuse_cut_member(
    spec: Spec, observed: Observed, name: str, *, both_ways: bool = False
) -> Iterator[Refused]:
    """Refuse to wait for a member that has no connection to others: one reason for each direction that is blocked.

    With `both_ways`, only hosts count that the member does not reach, and that do not reach it. One direction is enough
    for a connection between two members (rule 19).
    """
    out = {each.target: each for each in observed.blocked_ports if each.source == name}
    back = {each.source: each for each in observed.blocked_ports if each.target == name}
    if both_ways:
        cut = out.keys() & back.keys()
        out, back = ({each: found[each] for each in found if each in cut} for found in (out, back))
    if out:
        # The host that several others do not reach either has the firewall.
        places = (name,) if len(out) > 1 and out.keys() == back.keys() else tuple(out)
        yield _refused_peers(spec, name, out, observed.firewalls, places)
    if back:
        own = spec.host(name)
        yield _refused(spec, own, list(back.values()), observed.firewalls.get(name, ""))


def _refused_peers(
    spec: Spec,
    name: str,
    blocked: dict[str, BlockedPort],
    firewalls: Mapping[str, str],
    places: tuple[str, ...],
) -> Refused:
    targets = [host.name for host in spec.hosts if host.name in blocked]
    first = blocked[targets[0]]
    ports = sorted({each.port for each in blocked.values()})
    return Refused(
        f"{name} does not reach the peer port {' and '.join(map(str, ports))} of {' and '.join(targets)}: {first.why}",
        hint=_hint(
            spec.host(places[0]), first.why, name, ports, firewalls.get(places[0], ""), " and ".join(places)
        ),
        host=name,
        rules=(95,),
    )


def _refused(spec: Spec, target: HostSpec, blocked: list[BlockedPort], firewall: str) -> Refused:
    sources = ", ".join(dict.fromkeys(each.source for each in blocked))
    ports = sorted({each.port for each in blocked})
    verb = "do" if "," in sources else "does"
    return Refused(
        f"{sources} {verb} not reach {target.name} at {target.address}, TCP port "
        f"{' and '.join(map(str, ports))}: {blocked[0].why}",
        # Clients need the client port, which the same firewall blocks in most cases.
        hint=_hint(target, blocked[0].why, sources, sorted({spec.client_port(target), *ports}), firewall),
        host=target.name,
        rules=(95,),
    )


def _hint(
    target: HostSpec, why: str, sources: str, ports: list[int], firewall: str, targets: str = ""
) -> str:
    targets = targets or target.name
    if any(words in why for words in _NAME_FAULTS):
        return f"add {target.address} to DNS, or to /etc/hosts on {sources}. Then run the same command again"
    firewalld = " ".join(f"--add-port={port}/tcp" for port in ports)
    commands = {
        "firewalld": f"firewall-cmd --permanent {firewalld} && firewall-cmd --reload",
        "ufw": f"ufw allow proto tcp from any to any port {','.join(map(str, ports))}",
    }
    if firewall in commands:
        return f"run `{commands[firewall]}` on {targets}, then run the same command again"
    rule = f"nft insert rule inet filter input tcp dport '{{ {', '.join(map(str, ports))} }}' accept"
    return (
        f"permit these ports in the firewall of {targets}, for example with `{rule}` until its next reboot, "
        "and in each firewall between the hosts. Then run the same command again"
    )
