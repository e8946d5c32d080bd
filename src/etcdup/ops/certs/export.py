"""A client's files on this machine: those of the operator, and those made for a consumer of the cluster."""

from datetime import datetime
from pathlib import Path

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.spec.model import Spec, TlsSpec
from etcdup.errors import PkiError
from etcdup.ops.pki.pki import Pki

ADMIN = "admin"


def admin_files(spec: Spec, folder: Path, pki: Pki) -> ClientFiles:
    """The operator's own. `folder` is cluster.yaml's. Raises PkiError where there are none yet."""
    if ADMIN not in pki.observe().files:
        raise PkiError("the PKI has no admin certificate yet", hint="`etcdup apply` makes it")
    return client_files(spec, folder, ADMIN)


def issue_consumer_files(spec: Spec, folder: Path, pki: Pki, name: str, now: datetime) -> ClientFiles:
    """A certificate of its own for this consumer, issued when it is missing or due.

    With provided TLS the given client's files serve every consumer.
    """
    if spec.tls.mode == "managed":
        if pki.observe().ca is None:
            raise PkiError("this cluster has no CA yet", hint="`etcdup apply` makes it with the cluster")
        pki.issue_consumer(name, now)
    return client_files(spec, folder, name)


def client_files(spec: Spec, folder: Path, name: str) -> ClientFiles:
    """Where this client's files are on this machine."""
    tls = spec.tls
    if tls.mode == "provided":
        return _provided_files(tls, folder, spec.hosts[0].name)
    root = folder / Path(tls.dir).expanduser()
    clients = root / "clients"
    return ClientFiles(str(root / "ca.pem"), str(clients / f"{name}.pem"), str(clients / f"{name}-key.pem"))


def _provided_files(tls: TlsSpec, folder: Path, member: str) -> ClientFiles:
    def found(path: str | None) -> str:
        assert path is not None, "load refuses `provided` without these files"
        return str(folder / Path(path.replace("{name}", member)).expanduser())

    return ClientFiles(found(tls.ca), found(tls.client_cert or tls.cert), found(tls.client_key or tls.key))
