"""A member that only etcdup can reach: how its settings differ from those for clients.

Restored data has leases of processes of an earlier time. etcdup revokes them before a client can connect. Until then
the member listens on loopback only, and it accepts only a certificate that etcdup makes for this start. Its settings
are in etcd.conf, so they are still there after a reboot. Its keys are on tmpfs, so they are not, and etcd does not
start without them. So a host that boots at that time serves no client.
"""

from dataclasses import replace

from etcdup.core.host.settings import CLIENT_AUTH_VARIABLE, CLIENT_CA_VARIABLE, Settings
from etcdup.core.spec.address import LOOPBACK, is_any_address
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import HostSpec, Spec, bracketed

# etcd.conf could open one more port for clients with this variable, from `etcd.extra`.
_DROPPED = "ETCD_LISTEN_CLIENT_HTTP_URLS"


def closed_address(host: HostSpec, layout: Layout) -> str:
    """Return the address of the client port. Local members share one machine, so each of them keeps its own address."""
    own = host.listen_address or host.address
    return LOOPBACK if layout.supervisor == "systemd" or is_any_address(own) else own


def closed_settings(settings: Settings, spec: Spec, host: HostSpec, layout: Layout) -> Settings:
    """Return the settings with which only etcdup reaches the member. Peers reach it as before."""
    port = spec.client_port(host)
    changed = {
        "ETCD_LISTEN_CLIENT_URLS": f"https://{bracketed(closed_address(host, layout))}:{port}",
        CLIENT_AUTH_VARIABLE: "true",
        CLIENT_CA_VARIABLE: f"{layout.closed}/ca.pem",
        "ETCD_CERT_FILE": f"{layout.closed}/cert.pem",
        "ETCD_KEY_FILE": f"{layout.closed}/key.pem",
    }
    # Without `client_auth: required`, the settings for clients have no CA.
    added = tuple((name, value) for name, value in changed.items() if name not in settings.variables())
    groups = tuple(
        (title, tuple((name, changed.get(name, value)) for name, value in values if name != _DROPPED))
        for title, values in settings.groups
    )
    return replace(settings, groups=(*groups, ("Only for etcdup", added)) if added else groups)
