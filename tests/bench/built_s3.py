"""The S3 servers of the bench, built from the Go module proxy. They use the same cores as the contenders.

SeaweedFS, which the tests use, computes the MD5 of each byte three times: 9 s of CPU to write and read 1 GiB, more than
the rest of a backup. MinIO needs 1.5 s to write it, because its ETag is not the MD5. Amazon S3 does not use MD5 either
if it encrypts with its own keys. Versity's gateway needs as much CPU as MinIO, but at the end of an upload it copies
all parts into one file. All contenders wait for that second, and few other S3 servers do so.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.errors import CannotRun
from tests.support.cache import build_once, cache_dir
from tests.support.s3 import ACCESS, BUCKET, SECRET

START_S = 30.0


@dataclass(frozen=True)
class BuiltS3:
    """An S3 server whose buckets are subfolders of its folder.

    `words` are the arguments before the folder. {} is replaced by the address on which it listens.
    """

    name: str
    package: str
    words: tuple[str, ...]
    env: dict[str, str]

    def why_not(self) -> str | None:
        """Return why the server is not available on this computer, or None."""
        available = self._built.exists() or shutil.which("go")
        return None if available else f"{self.name} is not built yet, and go is not on PATH"

    def program(self) -> Path:
        """Return the program, built if necessary. Only the build needs a network."""
        (program,) = build_once(self._built, self._build).iterdir()
        return program

    @contextmanager
    def serving(self, folder: Path) -> Iterator[str]:
        """Run the server with an empty bucket; yields its URL."""
        (folder / BUCKET).mkdir()
        address = f"127.0.0.1:{_free_port()}"
        argv = [str(self.program()), *(word.format(address) for word in self.words), str(folder)]
        log = folder.parent / "s3.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv, env=os.environ | self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            self._wait(address, process, log)
            yield f"http://{address}"
        finally:
            process.kill()
            process.wait()

    @property
    def _built(self) -> Path:
        return cache_dir() / "bench" / self.name.lower().replace(" ", "-")

    def _build(self, making: Path) -> None:
        env = os.environ | {"CGO_ENABLED": "0", "GOBIN": str(making)}
        done = subprocess.run(
            ["go", "install", self.package], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CannotRun(f"go install {self.package}: {done.stderr.strip()}")

    def _wait(self, address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        host, port = address.split(":")
        ends = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < ends:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise CannotRun(f"{self.name} does not respond:\n{log.read_text(errors='replace')[-3000:]}")


MINIO = BuiltS3(
    "MinIO 2026-02-12",
    "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
    ("server", "--quiet", "--no-compat", "--address", "{}"),
    {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "MINIO_CI_CD": "1"},
)
VERSITY = BuiltS3(
    "Versity S3 Gateway 1.8.0",
    "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    ("--port", "{}", "--quiet", "posix", "--data-integrity-etag"),
    {"ROOT_ACCESS_KEY_ID": ACCESS, "ROOT_SECRET_ACCESS_KEY": SECRET},
)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
