"""The certificates and keys of a cluster, on the operator's machine.

`Managed` (managed.py) is a CA that etcdup made below `tls.dir`. `Provided` (provided.py) are files of the operator.
Importing this module does not import the cryptography library: `open_pki` (open.py) does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from etcdup.core.certs.required import Fault
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.errors import PkiError

AskPassphrase = Callable[[], str]


def missing_admin(seen: PkiSeen, directory: str) -> PkiError:
    """Return the error for a PKI without the certificate of the operator. `directory` is `tls.dir`."""
    if seen.mode == "managed" and seen.ca is None:
        return PkiError(
            f"{directory} on this machine has no CA and no certificates, so etcdup cannot connect to a member",
            hint=f"copy {directory} from the machine where the cluster was formed\n"
            "run `etcdup apply`, which creates it, if the cluster is new",
        )
    return PkiError("the PKI has no admin certificate yet", hint="run `etcdup apply`, which issues it")


class Pki(ABC):
    """The PKI of one cluster. Roles are named as in PkiSeen.

    Every method raises PkiError, which never contains key material.
    """

    @abstractmethod
    def observe(self) -> PkiSeen:
        """Return all certificates that exist. Raises PkiError for a file that is not usable."""

    @abstractmethod
    def issue(self, roles: Iterable[str], now: datetime, *, new_keys: bool = False) -> None:
        """Create the CA if there is none, then issue a new certificate for each of these roles.

        It is for the existing key, unless `new_keys` is set. A new key is made for a consumer, if the existing key does
        not match its certificate, and if another CA signed that certificate.
        """

    @abstractmethod
    def issue_consumer(
        self, name: str, now: datetime, *, renew: bool = False, role: str | None = None
    ) -> tuple[bytes, bytes]:
        """Return certificate and key of a consumer. They are issued if they are missing or due, or if `renew` is set.

        `role` is one of CONSUMER_ROLES. A new certificate of a client of the JSON gateway has no common name.
        A pair that is replaced is in `archived_consumers` from then on.
        """

    @abstractmethod
    def sign_consumer(self, name: str, csr: bytes, now: datetime, *, role: str | None = None) -> bytes:
        """Return a new certificate for a consumer that keeps its key. The PKI stores the certificate without a key."""

    @abstractmethod
    def pair(self, role: str) -> tuple[bytes, bytes]:
        """Return the certificate with its chain, and its key, both in PEM. Raises PkiError if they do not match."""

    @abstractmethod
    def paths(self, role: str) -> tuple[Path, Path]:
        """Return the paths of the certificate and key on this machine. Nothing is read."""

    @abstractmethod
    def ca_file(self, kind: str) -> bytes:
        """Return the CA file that verifies clients and servers (`ca`) or peers (`peer-ca`)."""

    def makes_plain_key(self) -> bool:
        """Return whether the next certificate makes a CA key that no configured passphrase encrypts."""
        return False

    def encrypt_new_key(self, passphrase: str) -> None:
        """Use this passphrase for the CA key that this run makes."""
        del passphrase

    def accept_lost_key(self) -> None:
        """Let this run replace the CA without its key. Raises PkiError if the key is not lost."""
        return

    def unlock(self, now: datetime) -> None:
        """Read the CA key, and ask for its passphrase if there is one. Later changes of this run do not ask again.

        If it raises PkiError, `observe` reports from then on that this run cannot sign.
        """
        del now

    @abstractmethod
    def crl_file(self, kind: str) -> bytes:
        """Return the revocation list for clients (`crl`) or peers (`peer-crl`), in DER."""

    def see_leaf(self, content: bytes) -> CertSeen | None:
        """Return the certificate from a host if a CA of this PKI signed it, otherwise None."""
        del content
        return None

    def supersede(self, changes: Iterable[str]) -> None:
        """Make this copy of the directory newer than the copies that made these changes."""
        del changes

    @abstractmethod
    def credentials(self) -> tuple[bytes, bytes, bytes]:
        """Return CA, certificate and key in PEM for the client that etcdup itself uses."""

    @abstractmethod
    def archive_member(self, name: str) -> None:
        """Archive the certificates of a member that left or is replaced. Nothing is deleted."""

    @abstractmethod
    def keep_shared(self, name: str) -> None:
        """Note that a replaced member has the present certificates of this member, too."""

    @abstractmethod
    def rotate_ca(self, stage: str, now: datetime) -> None:
        """Do one stage of the rotation of the CA (see steps.RotateAuthority). A stage that is done is skipped."""

    @abstractmethod
    def revoke(self, serials: Iterable[str], now: datetime) -> None:
        """Sign a new revocation list, with these serial numbers (hexadecimal) and all previous ones."""

    @abstractmethod
    def archived_certs(self) -> dict[str, CertSeen]:
        """Return the archived certificates by role: `replaced/app`, `forgotten/app`, `former/infra3/server`."""

    @abstractmethod
    def archive_consumer(self, name: str) -> Path:
        """Archive the certificate of a consumer, which gets no further one. Return its new path. Nothing is deleted."""

    @abstractmethod
    def archived_consumers(self) -> tuple[Path, ...]:
        """Return the archived and the replaced certificates of consumers. etcd accepts them until they expire."""

    @abstractmethod
    def check(self, now: datetime) -> tuple[Fault, ...]:
        """Return all faults and all warnings together. A bad file is a fault, not an exception."""

    @abstractmethod
    def exposed_keys(self) -> tuple[Fault, ...]:
        """Return a warning for each key that etcdup made and that other users can access."""

    @abstractmethod
    def restrict_keys(self) -> tuple[Fault, ...]:
        """Set those keys to mode 0600 and return the warnings about them. Provided files are never changed."""
