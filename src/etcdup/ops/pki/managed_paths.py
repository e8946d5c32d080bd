"""The paths of the files below `tls.dir`. managed.py says what each of them is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ManagedPaths:
    """The files in the directory `root`. Nothing is read."""

    root: Path

    @property
    def ca(self) -> Path:
        """Return the path of the CA file."""
        return self.root / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """Return the path of the CA key."""
        return self.root / "ca-key.pem"

    @property
    def crl(self) -> Path:
        """Return the path of the revocation list."""
        return self.root / "crl.der"

    def cert(self, role: str) -> Path:
        """Return the path of the certificate of this role."""
        kind, _, name = role.partition("/")
        if kind == "admin":
            return self.root / "clients" / "admin.pem"
        if kind == "client":
            return self.root / "clients" / f"{name}.pem"
        return self.root / "members" / name / f"{kind}.pem"

    def key(self, role: str) -> Path:
        """Return the path of the key of this role."""
        cert = self.cert(role)
        return cert.with_name(f"{cert.stem}-key.pem")
