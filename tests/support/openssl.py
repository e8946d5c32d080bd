"""Certificates made by the openssl program, as operators make them: an independent check of etcdup's own."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

EVERY_USAGE = "serverAuth,clientAuth"
DATE = "%Y%m%d%H%M%SZ"


def openssl(*argv: str | Path, stdin: bytes = b"") -> str:
    """Run openssl and return its output. The exit status must be 0."""
    done = subprocess.run(["openssl", *map(str, argv)], input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, (argv, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


def make_key(path: Path, kind: str = "ec-pkcs8") -> Path:
    """Write a key in one of the formats that operators use."""
    if kind == "rsa-pkcs1":
        openssl("genrsa", "-traditional", "-out", path, "2048")
    elif kind == "rsa-pkcs8":
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path)
    elif kind == "ec-sec1":
        # This is the format of cfssl, with an additional block of parameters before the key.
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", path)
    elif kind == "ed25519":
        openssl("genpkey", "-algorithm", "ED25519", "-out", path)
    else:
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Ca:
    """A root or intermediate CA in its own folder."""

    folder: Path

    @property
    def cert(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def key(self) -> Path:
        return self.folder / "ca-key.pem"


def make_ca(folder: Path, name: str = "kubernetes-ca", *, parent: Ca | None = None) -> Ca:
    folder.mkdir()
    ca = Ca(folder)
    make_key(ca.key)
    extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    _sign(ca.cert, ca.key, name, extensions, parent or ca)
    return ca


def make_cert(
    ca: Ca,
    cert: Path,
    key: Path,
    *,
    addresses: tuple[str, ...] = (),
    usages: str = EVERY_USAGE,
    valid: tuple[str, str] | None = None,
) -> None:
    """Issue a leaf certificate for this key. `valid` is its first and last moment, in openssl's format (DATE)."""
    extensions = "basicConstraints=CA:FALSE\n"
    if usages:
        extensions += f"extendedKeyUsage={usages}\n"
    if addresses:
        extensions += "subjectAltName=" + ",".join(f"IP:{address}" for address in addresses) + "\n"
    _sign(cert, key, "kubernetes", extensions, ca, valid)


def _sign(
    cert: Path, key: Path, name: str, extensions: str, ca: Ca, valid: tuple[str, str] | None = None
) -> None:
    """Sign with `openssl ca`, the only command of OpenSSL 3.0 that accepts both dates."""
    request = openssl("req", "-new", "-key", key, "-subj", f"/O=k8s/CN={name}", "-config", "/dev/null")
    (ca.folder / "index.txt").touch()
    config = ca.folder / "openssl.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=this\n[this]\ndatabase={ca.folder}/index.txt\nnew_certs_dir={ca.folder}\n"
        "rand_serial=yes\nunique_subject=no\ndefault_md=sha256\npolicy=any\nx509_extensions=wanted\n"
        "[any]\norganizationName=optional\ncommonName=supplied\n"
        f"[wanted]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{extensions}"
    )
    by: list[str | Path] = (
        ["-selfsign", "-keyfile", key] if key == ca.key else ["-cert", ca.cert, "-keyfile", ca.key]
    )
    now = datetime.now(UTC)
    begins, ends = valid or (f"{now - timedelta(hours=1):{DATE}}", f"{now + timedelta(days=365):{DATE}}")
    dates = ["-startdate", begins, "-enddate", ends]
    argv: list[str | Path] = [
        "ca",
        "-batch",
        "-notext",
        "-config",
        config,
        *by,
        *dates,
        "-in",
        "/dev/stdin",
        "-out",
        cert,
    ]
    openssl(*argv, stdin=request.encode())
