"""The bench's S3: Versity's gateway, which keeps objects as files of a folder. Built from the Go module proxy.

It runs on the cores of those that are measured. SeaweedFS, which the tests use, takes the MD5 of each byte three times:
9 s of CPU for 1 GiB written and read, more than all others of a backup together. This one needs 2 to 3 s, with a CRC as
the ETag: Amazon's S3 has no MD5 there either where it encrypts with keys of its own.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.errors import CannotRun
from tests.support.cache import build_once, cache_dir
from tests.support.s3 import ACCESS, BUCKET, SECRET

NAME = "Versity S3 Gateway 1.8.0"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
START_S = 30.0


def why_not() -> str | None:
    """Why it cannot be had here, before it is tried."""
    there = _folder().exists() or shutil.which("go")
    return None if there else f"{NAME} is not built yet, and there is no go to build it"


def program() -> Path:
    """To be called where there is a network, once; what follows may be without one."""
    return build_once(_folder(), _build) / "versitygw"


@contextmanager
def versity(folder: Path) -> Iterator[str]:
    """Its URL; with an empty bucket."""
    (folder / BUCKET).mkdir()
    port = _free_port()
    argv = [
        str(program()),
        "--port",
        f"127.0.0.1:{port}",
        "--quiet",
        "posix",
        "--data-integrity-etag",
        str(folder),
    ]
    env = os.environ | {"ROOT_ACCESS_KEY_ID": ACCESS, "ROOT_SECRET_ACCESS_KEY": SECRET}
    with (folder.parent / "s3.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait(port, process, folder.parent / "s3.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _folder() -> Path:
    return cache_dir() / "bench" / NAME.lower().replace(" ", "-")


def _build(making: Path) -> None:
    env = os.environ | {"CGO_ENABLED": "0", "GOBIN": str(making)}
    done = subprocess.run(["go", "install", PACKAGE], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"go install {PACKAGE}: {done.stderr.strip()}")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise CannotRun(f"{NAME} does not answer:\n{log.read_text(errors='replace')[-3000:]}")
