"""Consumers' certificates that have had their day. etcd asks no revocation list and takes them until they end, so
they are kept in sight, below the PKI's folder:

    former/clients/NAME.pem, NAME~1.pem, ...    and -key.pem, where the key was here

Forgotten ones are moved there. One that is issued anew is linked there before another takes its place.
"""

from itertools import count
from pathlib import Path

from etcdup.ops.files import sync_folder
from etcdup.ops.pki.files import make_private_folder


class ArchivedConsumers:
    """Changed only under the folder's lock. A certificate comes last: with it, its pair is whole."""

    def __init__(self, root: Path) -> None:
        self._place = root / "former" / "clients"

    def certs(self) -> tuple[Path, ...]:
        return tuple(path for path in sorted(self._place.glob("*.pem")) if not path.stem.endswith("-key"))

    def archive_copy(self, cert: Path, key: Path) -> None:
        """The pair under a second name, if there is one. A run that was killed after this may have kept it already."""
        if not cert.exists() or self._has(cert.read_bytes()):
            return
        kept_cert, kept_key = self._free_names(cert.stem)
        if key.exists():
            kept_key.hardlink_to(key)
        kept_cert.hardlink_to(cert)
        sync_folder(self._place)

    def archive(self, cert: Path, key: Path) -> Path:
        """The pair, moved; returns where its certificate is. While that is in its old place, nothing is forgotten."""
        kept_cert, kept_key = self._free_names(cert.stem)
        if key.exists():
            key.rename(kept_key)
        return cert.rename(kept_cert)

    def _has(self, content: bytes) -> bool:
        return any(path.read_bytes() == content for path in self.certs())

    def _free_names(self, name: str) -> tuple[Path, Path]:
        make_private_folder(self._place.parent)
        make_private_folder(self._place)
        taken = {path.stem for path in self._place.iterdir()}
        names = (f"{name}~{number}" if number else name for number in count())
        free = next(each for each in names if each not in taken and f"{each}-key" not in taken)
        return self._place / f"{free}.pem", self._place / f"{free}-key.pem"
