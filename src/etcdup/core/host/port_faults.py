"""What etcd needs to open its ports: the address is on the host, the ports are free, and user etcd may open them."""

import re
from collections.abc import Iterator
from ipaddress import ip_address

from etcdup.core.host.host_case import HostCase
from etcdup.core.observed.host import HostSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import HostSpec, Spec, bracketed, is_ip


def listen_pattern(host: HostSpec) -> str:
    """Return how the kernel shows the address that etcd listens on; empty if each host has it, or for a local member.

    The kernel shows an IPv6 address as 32 hexadecimal digits.
    """
    listen = host.listen_address or host.address
    if host.root or not is_ip(listen):  # A host that leaves can have a name only.
        return ""
    address = ip_address(listen)
    if address.is_loopback or address.is_unspecified:
        return ""
    return str(address) if address.version == 4 else address.exploded.replace(":", "")


def refuse_listen_address(case: HostCase) -> Iterator[Refused]:
    """Refuse an address that no interface of the host has, for example one that a router translates."""
    if case.seen.has_listen_address or _runs_with(case):
        return
    address = case.host.listen_address or case.host.address
    key = "listen_address" if case.host.listen_address else "address"
    yield Refused(
        f"{case.name}: no interface has the address {address} (`{key}` in cluster.yaml), so etcd cannot listen on it",
        hint=f"set `listen_address` of {case.name} in cluster.yaml to an address that `ip address` shows there",
        host=case.name,
        rules=(95,),
    )


def refuse_low_ports(case: HostCase) -> Iterator[Refused]:
    """Refuse ports that only root may open on this host."""
    if case.host.root:
        return
    for port, kind in _ports(case.spec, case.host).items():
        first = case.seen.first_free_port
        if port < first and not _has_opened(port, case.seen):
            yield Refused(
                f"{case.name}: user etcd cannot open port {port} ({kind}): only root opens ports below {first}",
                hint=f"set another `{kind}_port` in cluster.yaml, or set `net.ipv4.ip_unprivileged_port_start={port}` "
                f"with sysctl on {case.name}",
                host=case.name,
                rules=(95,),
            )


def refuse_taken_ports(case: HostCase) -> Iterator[Refused]:
    """Refuse each port of the member that another program uses, with the program if it is known."""
    if case.host.root or (case.seen.unit.is_running and case.seen.marker is not None):
        return
    wanted = _ports(case.spec, case.host)
    for taken in case.seen.listening:
        if taken.port in wanted:
            by, program = "", "the program that uses the port"
            shown = f"`ss -tlnp sport = :{taken.port}` shows its name"
            if taken.program:
                program = f"{taken.program} (pid {taken.pid})"
                by, shown = f" by {program}", f"`systemctl status {taken.pid}` shows its unit"
            yield Refused(
                f"{case.name}: port {taken.port} ({wanted[taken.port]}) is in use{by}",
                hint=f"stop {program} on {case.name}: {shown}",
                host=case.name,
                rules=(95,),
            )


def refuse_without_route(case: HostCase) -> Iterator[Refused]:
    """Refuse a member that etcdup could start and then not reach: no health proof would be possible."""
    if gone := case.seen.no_route:
        yield Refused(f"{gone.host}: {gone.why}", hint=gone.hint, host=gone.host)


def _ports(spec: Spec, host: HostSpec) -> dict[int, str]:
    return {
        spec.client_port(host): "client",
        spec.peer_port(host): "peer",
        spec.metrics_port(host): "metrics",
    }


def _runs_with(case: HostCase) -> bool:
    """Return whether etcd runs and listens on this address already."""
    listens = case.seen.unit.environment.get("ETCD_LISTEN_PEER_URLS", "")
    address = bracketed(case.host.listen_address or case.host.address)
    return case.seen.unit.is_running and f"//{address}:" in listens


def _has_opened(port: int, seen: HostSeen) -> bool:
    """Return whether etcd runs and has opened this port already."""
    urls = (value for name, value in seen.unit.environment.items() if name.startswith("ETCD_LISTEN_"))
    return seen.unit.is_running and any(re.search(rf":{port}(,|/|$)", url) for url in urls)
