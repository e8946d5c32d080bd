"""The certificates and keys of a cluster, on the operator's machine.

`Managed` (pki_managed.py) is etcdup's own CA below `tls.dir`; `Provided` (pki_provided.py) are the operator's
files.
Importing this module does not import the cryptography library: opening a Pki does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from etcdup.core.certs.required import Fault
from etcdup.core.observed.model import PkiSeen

AskPassphrase = Callable[[], str]


class Pki(ABC):
    """Roles are named as in PkiSeen. Every method raises PkiError, which never holds key material."""

    @abstractmethod
    def observe(self) -> PkiSeen:
        """What there is. What is not there yet is left out; a file that cannot be used is a PkiError."""

    @abstractmethod
    def issue(self, roles: Iterable[str], now: datetime) -> None:
        """Makes the CA if there is none, then a new certificate for each of these roles.

        It is for the key that is there, unless that does not fit or another CA signed for it, or it is a consumer's.
        """

    @abstractmethod
    def issue_consumer(self, name: str, now: datetime, *, renew: bool = False) -> tuple[bytes, bytes]:
        """Certificate and key of a consumer; those there are, unless they are due or `renew` is set.

        Those that another pair takes the place of are among `forgotten` from then on.
        """

    @abstractmethod
    def sign_consumer(self, name: str, csr: bytes, now: datetime) -> bytes:
        """A new certificate for a consumer whose key is on a host of its own; kept here without a key."""

    @abstractmethod
    def pair(self, role: str) -> tuple[bytes, bytes]:
        """Certificate (with its chain) and key in PEM, as they go to the host; they fit each other."""

    @abstractmethod
    def paths(self, role: str) -> tuple[Path, Path]:
        """Where on this machine the two of `file` are; reads nothing."""

    @abstractmethod
    def ca_file(self, kind: str) -> bytes:
        """The CA file that `ca` (clients and servers) or `peer-ca` (peers) are judged by."""

    @abstractmethod
    def credentials(self) -> tuple[bytes, bytes, bytes]:
        """CA, certificate and key in PEM for the operator's own client."""

    @abstractmethod
    def archive_member(self, name: str) -> None:
        """Sets a member's certificates aside: it has left, and its host is cleared. Nothing is deleted."""

    @abstractmethod
    def rotate_ca(self, stage: str, now: datetime) -> None:
        """One turn of a change of CA (see steps.RotateAuthority); does nothing where it is done already."""

    @abstractmethod
    def archive_consumer(self, name: str) -> Path:
        """Sets a consumer's certificate aside: it shall have no next one. Nothing is deleted; returns where it is."""

    @abstractmethod
    def archived_consumers(self) -> tuple[Path, ...]:
        """The certificates that were set aside, so or for newer ones: etcd lets their holders in until they end."""

    @abstractmethod
    def check(self, now: datetime) -> tuple[Fault, ...]:
        """Everything that is wrong or soon will be, all at once; raises nothing for a bad file."""

    @abstractmethod
    def exposed_keys(self) -> tuple[Fault, ...]:
        """etcdup's own keys that others than their owner can get at."""

    @abstractmethod
    def restrict_keys(self) -> tuple[Fault, ...]:
        """Closes those keys to others, and returns what was wrong with each. Files that are `provided` are not ours."""
