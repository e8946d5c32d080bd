"""A kube-apiserver in the network of the machines, with the flags and files of `etcdup export kube-apiserver`."""

import contextlib
import itertools
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from tests.clients.load import Load, Record, writes_of
from tests.clients.printed_files import files_to_copy
from tests.clients.table import KubernetesRow, Measured, Row
from tests.lab.operator import Operator, output_of
from tests.lab.shell import LabError
from tests.support.kubernetes_binaries import VERSION, kubernetes_binary

PORT = 6443
TOKEN = "lab-administrator"
KEYS = "/registry/configmaps/default/"
START_S = 180.0

_numbers = itertools.count(1)


class Apiserver:
    """`start` it, and then `measure` operations of etcdup."""

    name = f"kube-apiserver {VERSION}"

    def __init__(self, operator: Operator, folder: Path, rows: list[Row]) -> None:
        self.operator = operator
        self._folder = folder
        self._rows = rows
        self._certs = folder / "certs"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._folder.mkdir()
        (self._folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        key = self._folder / "service-account.pem"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        self.install("export", "kube-apiserver")
        self._run()

    def install(self, *words: str) -> list[str]:
        """Copy the files that this command of etcdup names, and return its flags."""
        done = self.operator.run(*words)
        assert done.returncode == 0, output_of(done)
        for source, target in files_to_copy(done.stdout):
            there = self._path(target)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.operator.folder / source, there)
        return [self._in_folder(line) for line in done.stdout.splitlines() if line.startswith("--")]

    def restart(self) -> None:
        """Start it again with the current flags, as after a change of its manifest.

        It is killed: with SIGTERM it first waits for its open watches.
        """
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._run()

    # What etcdup asks of consumers

    def update_ca(self) -> None:
        self.install("export", "kube-apiserver")
        self.restart()

    def update_certificates(self) -> None:
        """Issue a certificate of the new CA, and copy it. The apiserver reads its files for each new connection."""
        self.install("certs", "issue", "kube-apiserver")

    def update_endpoints(self) -> None:
        self.restart()

    # Measurement

    @contextlib.contextmanager
    def measure(self, operation: str) -> Iterator[Measured]:
        """Put load on the apiserver during the block. Its row is complete when the block ends."""
        measured = Measured(operation)
        run = f"run{next(_numbers)}"
        ca = str(self._certs / "apiserver.crt")
        argv = [sys.executable, "-m", "tests.clients.apiserver_load", self.operator.lab.operator_address]
        load = Load(self.operator.lab, [*argv, ca, TOKEN, run], self._folder / f"{run}.jsonl")
        if not load.wait_written([""]):
            raise LabError(f"the apiserver accepts no write\n{self.log_tail()}")
        try:
            yield measured
        finally:
            resumed = load.wait_written([""])
            records = load.stop()
            measured.rows = [self._row(measured, run, records, resumed=resumed)]
            self._rows += measured.rows
            print(f"\n{measured}", flush=True)

    def _row(self, measured: Measured, run: str, records: list[Record], *, resumed: bool) -> KubernetesRow:
        writes = writes_of(records, "", resumed=resumed)
        kept = self._kept()
        begin, end = measured.rolled_back
        wanted = {f"{run}-{number}" for number, at in writes.acknowledged.items() if not begin <= at <= end}
        last = next(each for each in reversed(records) if each["kind"] == "end")
        stale = max(len(kept ^ set(last[key])) for key in ("listed", "cached", "informer"))
        return KubernetesRow(
            measured.operation, self.name, writes, len(wanted - kept), stale,
            relists=sum(each["kind"] == "list" for each in records) - 1,
            failed_reads=sum(each["kind"] == "read" for each in records),
        )  # fmt: skip

    def _kept(self) -> set[str]:
        """Return the names of the ConfigMaps in etcd itself."""
        keys = self.operator.ctl("get", KEYS, "--prefix", "--keys-only").split()
        return {key.removeprefix(KEYS) for key in keys}

    # The process

    def _run(self) -> None:
        address = self.operator.lab.operator_address
        key = self._folder / "service-account.pem"
        flags = [
            *self.install("export", "kube-apiserver"),
            f"--bind-address={address}", f"--advertise-address={address}", f"--secure-port={PORT}",
            f"--cert-dir={self._certs}", f"--token-auth-file={self._folder}/tokens.csv",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
        ]  # fmt: skip
        with (self._folder / "apiserver.log").open("a") as log:
            self._process = self.operator.lab.popen(
                [kubernetes_binary("kube-apiserver"), *flags], stdout=log, stderr=log
            )
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the apiserver is not ready\n{self.log_tail()}")
            time.sleep(0.5)

    def _is_ready(self) -> bool:
        with self.operator.lab.inside(), contextlib.suppress(OSError, HTTPException, ssl.SSLError):
            tls = ssl.create_default_context(cafile=str(self._certs / "apiserver.crt"))
            server = HTTPSConnection(self.operator.lab.operator_address, PORT, timeout=5, context=tls)
            with contextlib.closing(server):
                server.request("GET", "/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
                return server.getresponse().status == 200
        return False

    def log_tail(self) -> str:
        return "\n".join((self._folder / "apiserver.log").read_text(errors="replace").splitlines()[-20:])

    def _path(self, target: str) -> Path:
        return self._folder / target.lstrip("/")

    def _in_folder(self, flag: str) -> str:
        return flag.replace("=/etc/", f"={self._folder}/etc/")
