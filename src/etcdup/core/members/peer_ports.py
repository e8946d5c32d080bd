"""The ports of other members must be reachable before etcd is installed: a firewall is the most frequent cause."""

from collections.abc import Iterator

from etcdup.core.observed.model import BlockedPort, HostSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import HostSpec, Spec

# The variable of a process that has its own peer URL.
PEER_URLS = "ETCD_INITIAL_ADVERTISE_PEER_URLS"
# Parts of the errors of getaddrinfo(3).
_NAME_FAULTS = ("not known", "resol", "hostname")


def changed_hosts(spec: Spec, observed: Observed) -> frozenset[str]:
    """Return the hosts that get a new member, or whose member gets another address."""
    seen = observed.reachable()
    return frozenset(
        host.name
        for host in spec.hosts
        if host.name in seen
        and (seen[host.name].marker is None or is_at_previous_address(spec, host, seen[host.name]))
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


def _hint(target: HostSpec, why: str, sources: str, ports: list[int], firewall: str) -> str:
    if any(words in why for words in _NAME_FAULTS):
        return f"add {target.address} to DNS, or to /etc/hosts on {sources}. Then run the same command again"
    firewalld = " ".join(f"--add-port={port}/tcp" for port in ports)
    commands = {
        "firewalld": f"firewall-cmd --permanent {firewalld} && firewall-cmd --reload",
        "ufw": f"ufw allow proto tcp from any to any port {','.join(map(str, ports))}",
    }
    if firewall in commands:
        return f"run `{commands[firewall]}` on {target.name}, then run the same command again"
    rule = f"nft add rule inet filter input tcp dport '{{ {', '.join(map(str, ports))} }}' accept"
    return (
        f"permit these ports in the firewall of {target.name}, for example with `{rule}`, and in each firewall between "
        "the hosts. Then run the same command again"
    )
