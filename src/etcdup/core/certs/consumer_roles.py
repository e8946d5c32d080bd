"""The kinds of consumers: the form of their certificates, and what they need after new files or new endpoints.

etcd takes the common name of a client certificate as the name of its user. Its JSON gateway refuses each request of a
client whose certificate has a common name, as soon as users are enabled, with a password too (tested with 3.4 to 3.7).
So the certificate of a client of the gateway has none.
"""

from dataclasses import dataclass
from datetime import timedelta

from etcdup.core.certs.required import why_ageing
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen

CLIENT, KUBE_APISERVER = "client", "kube-apiserver"


@dataclass(frozen=True)
class ConsumerRole:
    """One kind of consumer.

    `gateway`: it uses the JSON gateway of etcd. `ca_file` and `cert_file` say where new files go, and what has to be
    done then. `endpoints` says what has to be done after the endpoints changed.
    """

    name: str
    ca_file: str
    cert_file: str
    endpoints: str
    gateway: bool = False


_EACH_CONNECTION = "nothing has to be restarted: the files are read for each new connection"
_FILES_AT_START = "restart it if it reads files only when it starts"
_SETTINGS_AT_START = "restart it if it reads its settings only when it starts"
_ROLES = (
    ConsumerRole(
        KUBE_APISERVER,
        "set --etcd-cafile on each control plane host, then restart it",
        "it reads the new files at its next TLS handshake, without a restart",
        "set --etcd-servers, then restart it",
    ),
    ConsumerRole(
        "patroni",
        f"etcd3.cacert; {_EACH_CONNECTION}",
        f"etcd3.cert and etcd3.key; {_EACH_CONNECTION}",
        "etcd3.hosts, then restart Patroni; a reload is not enough",
        gateway=True,
    ),
    ConsumerRole(
        "prometheus",
        f"ca_file; {_EACH_CONNECTION}",
        f"cert_file and key_file; {_EACH_CONNECTION}",
        "targets of the job, then reload Prometheus",
    ),
    ConsumerRole(
        "apisix",
        "apisix.ssl.ssl_trusted_certificate, then reload APISIX",
        "deployment.etcd.tls, then reload APISIX",
        "deployment.etcd.host, then reload APISIX",
        gateway=True,
    ),
    ConsumerRole(
        "gateway",
        _FILES_AT_START,
        _FILES_AT_START,
        _SETTINGS_AT_START,
        gateway=True,
    ),
    ConsumerRole(
        CLIENT,
        _FILES_AT_START,
        _FILES_AT_START,
        _SETTINGS_AT_START,
    ),
)
CONSUMER_ROLES = {each.name: each for each in _ROLES}
ROLES = tuple(CONSUMER_ROLES)


def role_of(name: str) -> str:
    """Return the role of a consumer without an explicit role: its name if that is a role, otherwise `client`."""
    return name if name in CONSUMER_ROLES else CLIENT


def likely_role(name: str) -> str:
    """Return the role of a consumer of which only the name is known: `patroni-east` is a Patroni."""
    return next((role for role in ROLES if name == role or name.startswith((f"{role}-", f"{role}."))), CLIENT)


def is_gateway_role(role: str) -> bool:
    return CONSUMER_ROLES[role].gateway


def is_gateway_client(name: str, role: str | None, seen: CertSeen | None) -> bool:
    """Return whether the certificate of this consumer must have no common name.

    Without an explicit role, the name or the existing certificate of the consumer shows it.
    """
    if role is not None:
        return is_gateway_role(role)
    return is_gateway_role(role_of(name)) or (seen is not None and not seen.common_name)


def consumers(pki: PkiSeen) -> dict[str, CertSeen]:
    """Return the certificates of the consumers, by name."""
    return {
        role.removeprefix("client/"): cert for role, cert in pki.certs.items() if role.startswith("client/")
    }


def gateway_clients(pki: PkiSeen) -> tuple[str, ...]:
    """Return the consumers that use the JSON gateway: their certificate or their name says so."""
    return tuple(
        name
        for name, cert in consumers(pki).items()
        if not cert.common_name or is_gateway_role(likely_role(name))
    )


def due_consumers(observed: Observed, days: int | None) -> tuple[str, ...]:
    """Return a line for each consumer whose certificate is due, with the command: `certs renew` does not issue it."""
    return tuple(
        _due_line(name, cert, observed)
        for name, cert in sorted(consumers(observed.pki).items())
        if why_ageing(cert, observed.at)
        or (days is not None and cert.not_after - observed.at < timedelta(days=days))
    )


def _due_line(name: str, cert: CertSeen, observed: Observed) -> str:
    how, left = "--renew" if cert.key else "--csr FILE", max((cert.not_after - observed.at).days, 0)
    return (
        f"the certificate of the consumer {name} has {left} days left and is not renewed by this command. Run `etcdup "
        f"certs issue {name} {how}` and copy the files to the hosts of {name}: "
        f"{CONSUMER_ROLES[likely_role(name)].cert_file}"
    )
