"""A temporary etcd with one member, on loopback, with its own keys. A drill and a salvage use it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePath

from etcdup.core.certs.required import DesiredCert
from etcdup.ops.pki.signing import SigningCa, cert_pem, key_pem, make_ca, make_cert, new_key
from etcdup.remote.etcd.grpc_client import Credentials

LOOPBACK = "127.0.0.1"
# The temporary member gets no writes. The quota is larger than any database that it may serve.
_QUOTA_BYTES = 100 << 30


def make_credentials(cluster: str) -> Credentials:
    """Return one certificate for all uses. Its name is `root`, which may read all keys if etcd's `auth` is enabled."""
    now, ca_key, key = datetime.now(UTC), new_key(), new_key()
    ca = make_ca(ca_key, cluster, 2, now)
    wanted = DesiredCert(
        role="temporary", common_name="root", dns_names=(), addresses=(LOOPBACK,),
        usages=("serverAuth", "clientAuth"),
    )  # fmt: skip
    cert = make_cert(wanted, key, SigningCa(ca, ca_key), cluster, days=2, now=now)
    return Credentials(ca=cert_pem(ca), cert=cert_pem(cert), key=key_pem(key))


def key_files(credentials: Credentials) -> Iterator[tuple[str, bytes]]:
    """Return the names and contents of the key files. `etcd_flags` uses these names."""
    yield from (("ca.pem", credentials.ca), ("cert.pem", credentials.cert), ("key.pem", credentials.key))


def write_keys(folder: Path, credentials: Credentials) -> None:
    for name, pem in key_files(credentials):
        (folder / name).write_bytes(pem)


def etcd_flags(name: str, data: PurePath, keys: PurePath, ports: tuple[int, int], *more: str) -> list[str]:
    """Return the flags of etcd. `ports` are the client port and the peer port. No peer can connect to it."""
    client, peer = (f"https://{LOOPBACK}:{port}" for port in ports)
    values = {
        "name": name,
        "data-dir": data,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{name}={peer}",
        "quota-backend-bytes": _QUOTA_BYTES,
        "logger": "zap",
        "log-level": "warn",
        "client-cert-auth": "true",
        "peer-client-cert-auth": "true",
    }
    for prefix in ("", "peer-"):
        values |= {
            f"{prefix}cert-file": keys / "cert.pem",
            f"{prefix}key-file": keys / "key.pem",
            f"{prefix}trusted-ca-file": keys / "ca.pem",
        }
    return [*(f"--{flag}={value}" for flag, value in values.items()), *more]
