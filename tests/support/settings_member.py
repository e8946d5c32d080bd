"""A real etcd with the settings that etcdup writes for a host under systemd, in the directories of a test."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.host.settings import Settings, settings_of
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.crl import make_crl
from etcdup.ops.pki.signing import SigningCa, make_ca, new_key
from tests.support.etcd_binaries import etcd_binaries
from tests.support.etcd_certs import Authority

CRLS = ("crl", "peer-crl")


@dataclass(frozen=True)
class SettingsMember:
    """The running member, and what a client needs to connect to it."""

    spec: Spec
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


def settings_spec(version: str, *, host: str = "", etcd: str = "", tls: str = "") -> Spec:
    """Return the spec of one member on 127.0.0.1 with free ports. The arguments are further keys of these sections."""
    client, peer, metrics = free_ports(3)
    ports = f"client_port: {client}, peer_port: {peer}, metrics_port: {metrics}"
    return load(
        f"name: prod\nversion: {version}\n"
        f"hosts: [{{name: m1, local: true, address: 127.0.0.1{host and ', ' + host}}}]\n"
        f"etcd: {{{ports}{etcd and ', ' + etcd}}}\ntls: {{{tls}}}\n"
    )


def settings_in(spec: Spec) -> Settings:
    """Return the settings of the member, as etcdup writes them."""
    layout = layout_of(spec, spec.hosts[0])
    return settings_of(spec, spec.hosts[0], layout, "token", peer_common_name=None, trust="", crls=CRLS)


def write_files(folder: Path, authority: Authority) -> None:
    """Write the certificates of the member and empty revocation lists. etcd does not check who signed a list."""
    for kind in ("server", "peer"):
        authority.issue("m1", ["127.0.0.1"]).write(folder, kind)
    for name in ("ca.pem", "peer-ca.pem"):
        (folder / name).write_bytes(authority.pem)
    key, now = new_key(), datetime.now(UTC)
    crl = make_crl(SigningCa(make_ca(key, "prod", 9, now), key), None, (), days=9, now=now)
    for kind in CRLS:
        (folder / f"{kind}.der").write_bytes(crl)


@contextmanager
def running_with(spec: Spec, variables: Mapping[str, str], folder: Path) -> Iterator[SettingsMember]:
    """Run etcd with these variables. Its data and its certificates are in the folder."""
    layout = layout_of(spec, spec.hosts[0])
    environment = {name: value.replace(layout.pki, str(folder)) for name, value in variables.items()}
    environment |= {"ETCD_DATA_DIR": str(folder / "data"), "ETCD_INITIAL_CLUSTER_STATE": "new"}
    argv = [str(etcd_binaries(str(spec.version)) / "etcd")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, env={"PATH": os.environ["PATH"]} | environment, stdout=log, stderr=log
        )
    try:
        yield SettingsMember(spec, folder, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
