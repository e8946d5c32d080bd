"""How a fake etcd uses its revocation lists: it reads the file for each new connection, and compares serial numbers."""

from functools import lru_cache

from cryptography import x509

from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.testing.machine import FakeMachine


def why_rejected(machine: FakeMachine, kind: str, cert: bytes) -> str:
    """Return why the running etcd closes a new connection with this certificate in PEM; empty if it does not."""
    process = machine.process
    path = process.environment.get(CRL_VARIABLES[kind], "") if process else ""
    if not path:
        return ""
    node = machine.file(path)
    revoked = _serials(node.content or b"") if node is not None else None
    if revoked is None:
        return f"its revocation list {path} is missing or malformed"
    return "certificate serial revoked" if _serial(cert) in revoked else ""


@lru_cache
def _serials(content: bytes) -> frozenset[int] | None:
    try:
        return frozenset(entry.serial_number for entry in x509.load_der_x509_crl(content))
    except ValueError:
        return None


@lru_cache
def _serial(cert: bytes) -> int | None:
    try:
        return x509.load_pem_x509_certificate(cert).serial_number
    except ValueError:
        return None
