"""The CA key that etcdup manages: it is made once, and a passphrase can encrypt it."""

from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path

from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.files import create_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE
from etcdup.ops.pki.managed_paths import ManagedPaths
from etcdup.ops.pki.passphrase import VARIABLE, configured_passphrase, is_configured
from etcdup.ops.pki.pki import AskPassphrase
from etcdup.ops.pki.rotation import CaRotation
from etcdup.ops.pki.signing import SigningCa, cert_pem, key_pem, make_ca, new_key
from etcdup.ops.pki.x509 import (
    Pem,
    PrivateKey,
    is_encrypted,
    is_key_of,
    parse_key,
    read_file,
    read_if_exists,
)


class Authority:
    """The CA of one PKI directory. Call `signing` under the lock of the directory.

    `folder` is the directory of cluster.yaml, where `tls.passphrase_command` runs.
    """

    def __init__(self, spec: Spec, folder: Path, paths: ManagedPaths, ask: AskPassphrase | None) -> None:
        self._spec = spec
        self._folder = folder
        self._paths = paths
        self._ask = ask
        self.rotation = CaRotation(paths.root, self.read_key)
        self._asked: str | None = None
        self._unlocked: SigningCa | None = None
        self._locked_because = ""
        self._is_lost = False

    def unlock(self, now: datetime) -> None:
        """Read the CA key. If it raises PkiError, `why_no_key` returns its message from then on."""
        try:
            self.signing(now)
        except PkiError as error:
            self._locked_because = error.message
            raise

    def why_no_key(self) -> str:
        """Return why the CA key cannot be used, as far as this is known without its passphrase."""
        if self._locked_because:
            return self._locked_because
        key = read_if_exists(self._paths.ca_key)
        if not self.rotation.has_old_key:
            return f"the new CA in {self._paths.root} does not sign yet"
        if key is None:
            return f"{self._paths.ca_key} does not exist"
        has_passphrase = self._ask or self._asked or is_configured(self._spec.tls.passphrase_command)
        if has_passphrase or not is_encrypted(key):
            return ""
        return f"{self._paths.ca_key} is encrypted, and no passphrase is set"

    def signing(self, now: datetime) -> SigningCa:
        """Return the CA that signs. It is made if the directory has none. Raise PkiError if it is expired."""
        if self._unlocked is None or not self._is_current(self._unlocked):
            self._unlocked = self._make_or_load_ca(now)
        if self._unlocked.cert.not_valid_after_utc <= now:
            hint = (
                "take a snapshot of the data of a member, then restore it as a new cluster with another `tls.dir`: "
                "`certs rotate-ca` cannot replace an expired CA, because members accept no certificate of it"
            )
            raise PkiError(
                f"the CA in {self._paths.ca} is expired: no certificate that it signs would be valid",
                hint=hint,
            )
        return self._unlocked

    def _is_current(self, authority: SigningCa) -> bool:
        """Whether this CA is still the one that signs. Another run may have changed the CA since it was unlocked."""
        return self.rotation.signing_ca(Pem.read(self._paths.ca)) == authority.cert

    def forget(self) -> None:
        """Read the CA key again before the next certificate: the CA has changed."""
        self._unlocked = None

    def makes_plain_key(self) -> bool:
        """Return whether the next certificate makes a CA key that no configured passphrase encrypts."""
        has_ca = self._paths.ca_key.exists() or self._paths.ca.exists()
        return (not has_ca or self._is_lost) and self.configured_passphrase is None

    def encrypt_new_key(self, passphrase: str) -> None:
        """Use this passphrase for the CA key that this run makes."""
        self._asked = passphrase

    def accept_lost_key(self) -> None:
        """Let this run begin a rotation without the key of the CA. Raise PkiError if the key can be used."""
        if self._paths.ca_key.exists():
            raise PkiError(
                f"{self._paths.ca_key} exists, so the key of the CA is not lost",
                hint="run `etcdup certs rotate-ca` without `--lost-key`. If its passphrase is lost, move this file to "
                "another directory first",
            )
        self._is_lost = True

    def needs_no_old_key(self) -> bool:
        """Return whether a stage of a rotation needs no key of the old CA: it is provided, or the key is lost."""
        return self._is_lost or not self.rotation.has_old_key

    def passphrase_of_new_key(self) -> str | None:
        """Return the passphrase of the new CA key of a rotation. The new key is encrypted if the old key is."""
        old = read_if_exists(self._paths.ca_key)
        if old is not None and is_encrypted(old):
            return self.passphrase()
        return self._asked or self.configured_passphrase

    def _make_or_load_ca(self, now: datetime) -> SigningCa:
        """Return the CA. It is created if the folder never had one, and completed if a previous run was killed.

        Another etcdup may create a file at the same time where locks have no effect (NFS). Then that file is used.
        """
        self._check_no_second_ca()
        if not self._paths.ca_key.exists():
            with suppress(FileExistsError):
                create_file(
                    self._paths.ca_key,
                    key_pem(new_key(), self._asked or self.configured_passphrase),
                    KEY_MODE,
                )
        key = self.read_key(self._paths.ca_key)
        if not self._paths.ca.exists():
            made = make_ca(key, self._spec.name, self._spec.tls.ca_days, now)
            with suppress(FileExistsError):
                create_file(self._paths.ca, cert_pem(made), CERT_MODE)
        cert = self.rotation.signing_ca(Pem.read(self._paths.ca))
        if not is_key_of(key, cert):
            hint = f"restore both files from the same backup of {self._paths.root}"
            raise PkiError(f"{self._paths.ca_key} is not the key of {self._paths.ca}", hint=hint)
        return SigningCa(cert, key)

    def _check_no_second_ca(self) -> None:
        if self._paths.ca_key.exists():
            return
        if not self.rotation.has_old_key:
            hint = "run `etcdup certs rotate-ca` first: the new CA signs from the next phase on"
            raise PkiError(f"{self.why_no_key()}, and there is no key of the old one", hint=hint)
        hint = f"restore {self._paths.ca.name} and {self._paths.ca_key.name} from your backup of {self._paths.root}"
        if self._paths.ca.exists():
            hint += ". If the key is lost, run `etcdup certs rotate-ca --lost-key`, which replaces this CA"
            raise PkiError(f"{self._paths.ca} exists without its key: etcdup creates no second CA", hint=hint)
        if issued := [*self._paths.root.glob("members/*/*.pem"), *self._paths.root.glob("clients/*.pem")]:
            message = f"{issued[0]} exists without the CA that signed it: etcdup creates no second CA"
            raise PkiError(message, hint=hint)

    def read_key(self, path: Path) -> PrivateKey:
        """Return a private key, decrypted with the passphrase if it is encrypted."""
        pem = read_file(path)
        return parse_key(path, pem, self.passphrase() if is_encrypted(pem) else None)

    @cached_property
    def configured_passphrase(self) -> str | None:
        """Return the passphrase of the environment or of `tls.passphrase_command`, or None."""
        return configured_passphrase(self._spec.tls.passphrase_command, self._folder)

    def passphrase(self) -> str:
        """Return the passphrase, which the operator types if none is configured. Raise PkiError without one."""
        passphrase = self.configured_passphrase if self._asked is None else self._asked
        if passphrase is None and self._ask is not None:
            passphrase = self._asked = self._ask()
        if passphrase is None:
            hint = f"set ${VARIABLE}, or `tls.passphrase_command` in cluster.yaml"
            raise PkiError(f"{self._paths.ca_key} is encrypted, and no passphrase is set", hint=hint)
        return passphrase
