"""Former certificates of consumers. etcd reads no revocation list and accepts them until they expire.

Therefore etcdup keeps them below the PKI folder:

    former/clients/NAME.pem, NAME~1.pem, ...    and -key.pem, where the key was in the PKI folder

A certificate that is archived is renamed to there. A certificate that is reissued is linked there first.
"""

from itertools import count
from pathlib import Path

from etcdup.ops.files import sync_folder
from etcdup.ops.pki.files import make_private_folder


class ArchivedConsumers:
    """The archived pairs. Change them only under the lock of the PKI folder.

    The key is archived before its certificate: if the certificate is there, the pair is complete.
    """

    def __init__(self, root: Path) -> None:
        self._place = root / "former" / "clients"

    def certs(self) -> tuple[Path, ...]:
        return tuple(path for path in sorted(self._place.glob("*.pem")) if not path.stem.endswith("-key"))

    def archive_copy(self, cert: Path, key: Path) -> None:
        """Link the pair, if it exists, to a second name. A run that was killed may have done so already."""
        if not cert.exists() or self._has(cert.read_bytes()):
            return
        kept_cert, kept_key = self._free_names(cert.stem)
        if key.exists():
            kept_key.hardlink_to(key)
        kept_cert.hardlink_to(cert)
        sync_folder(self._place)

    def archive(self, cert: Path, key: Path) -> Path:
        """Rename the pair and return the new path of its certificate.

        The certificate is renamed last. Until then the consumer is not archived.
        """
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
