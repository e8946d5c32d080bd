"""Former certificates of consumers and members. etcd accepts them until they expire or are revoked.

So `certs list` shows them, `certs revoke` can revoke them, and `apply` revokes those of members that left:

    former/clients/NAME.pem, NAME~1.pem, ...    and -key.pem, where the key was in the PKI folder
    members/NAME/renewed/                       previous certificates of a member
    former/NAME/, former/NAME~1/, ...           the folder members/NAME of a member that left or was replaced

A certificate that is archived is renamed to there. A certificate that is reissued is linked there first.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path

from etcdup.core.spec.layout import MEMBER_CERTS
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


class ArchivedMembers:
    """The archived certificates of members. Change them only under the lock of the PKI folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._place = root / "former"

    def certs(self) -> Iterator[tuple[str, Path]]:
        """Yield the certificates of members that left, and the previous ones of present members, by role."""
        for path in sorted(self._place.glob("*/*.pem")):
            if path.stem in MEMBER_CERTS and path.parent.name != "clients":
                yield f"former/{path.parent.name}/{path.stem}", path
        for path in sorted(self._place.glob("*/renewed/*.pem")):
            yield f"former/{path.parent.parent.name}/{path.stem}", path
        for path in sorted(self._root.glob("members/*/renewed/*.pem")):
            yield f"renewed/{path.parent.parent.name}/{path.stem}", path

    def archive(self, name: str) -> None:
        """Rename the folder of a member. Its name is that of no other archive, and not that of archived consumers."""
        (self._root / "members" / name).rename(self._place / self._free_name(name))

    def _free_name(self, name: str) -> str:
        make_private_folder(self._place)
        taken = {"clients", *(path.name for path in self._place.iterdir())}
        names = (f"{name}~{number}" if number else name for number in count())
        return next(each for each in names if each not in taken)

    def keep_shared(self, name: str) -> None:
        """Link the certificates of a member, without their keys, into an archive: a replaced member has them, too.

        A run that was killed may have done so already.
        """
        certs = [
            path
            for path in sorted((self._root / "members" / name).glob("*.pem"))
            if path.stem in MEMBER_CERTS
        ]
        kept = {path.read_bytes() for path in self._place.glob(f"{name}*/*.pem")}
        if missing := [path for path in certs if path.read_bytes() not in kept]:
            folder = self._place / self._free_name(name)
            make_private_folder(folder)
            for path in missing:
                (folder / path.name).hardlink_to(path)
            sync_folder(folder)

    def keep_renewed(self, cert: Path) -> None:
        """Link a certificate, if it exists, to a second name, before another one replaces it.

        Its key may still be in use. If that key is stolen, the previous certificate must be revoked too.
        """
        if not cert.exists():
            return
        folder = cert.parent / "renewed"
        make_private_folder(folder)
        with suppress(FileExistsError):
            (folder / f"{cert.stem}-{sha256(cert.read_bytes()).hexdigest()[:16]}.pem").hardlink_to(cert)
