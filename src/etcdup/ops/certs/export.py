"""The certificate files of clients on this machine: those of the operator, and those of consumers."""

from datetime import datetime
from pathlib import Path

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.spec.model import Spec, TlsSpec
from etcdup.errors import PkiError
from etcdup.ops.pki.pki import Pki, missing_admin

ADMIN = "admin"


def admin_files(spec: Spec, folder: Path, pki: Pki) -> ClientFiles:
    """Return the operator's own files. `folder` is the folder of cluster.yaml. Raises PkiError if there are none."""
    if ADMIN not in (seen := pki.observe()).files:
        raise missing_admin(seen, spec.tls.dir)
    return client_files(spec, folder, ADMIN)


def issue_consumer_files(spec: Spec, folder: Path, pki: Pki, name: str, now: datetime) -> ClientFiles:
    """Return the files of this consumer. Its certificate is issued if it is missing or due.

    With `tls.mode: provided` all consumers use the client files of cluster.yaml.
    """
    if spec.tls.mode == "managed":
        if pki.observe().ca is None:
            raise PkiError("this cluster has no CA yet", hint="run `etcdup apply`, which creates it")
        pki.issue_consumer(name, now)
    return client_files(spec, folder, name)


def client_files(spec: Spec, folder: Path, name: str) -> ClientFiles:
    """Return the paths of this client's files on this machine."""
    tls = spec.tls
    if tls.mode == "provided":
        return _provided_files(tls, folder, spec.hosts[0].name)
    root = folder / Path(tls.dir).expanduser()
    clients = root / "clients"
    return ClientFiles(str(root / "ca.pem"), str(clients / f"{name}.pem"), str(clients / f"{name}-key.pem"))


def _provided_files(tls: TlsSpec, folder: Path, member: str) -> ClientFiles:
    def found(path: str | None) -> str:
        assert path is not None, "`load` refuses `provided` without these files"
        return str(folder / Path(path.replace("{name}", member)).expanduser())

    return ClientFiles(found(tls.ca), found(tls.client_cert or tls.cert), found(tls.client_key or tls.key))
