"""A cache for things that take minutes to build and never change: outside the checkout, and never partly built."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Return `$ETCDUP_CACHE`, or `~/.cache/etcdup`."""
    return Path(os.environ.get("ETCDUP_CACHE") or "~/.cache/etcdup").expanduser()


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file. The kernel releases it when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Return the folder `target`. If it is missing, call `build` with a new folder, and rename that afterwards."""
    if target.exists():
        return target
    with file_lock(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _build(target, build)
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    for unfinished in target.parent.glob(
        f".{target.name}.making-*"
    ):  # its builder is dead, as the lock is ours
        shutil.rmtree(unfinished)
    making = Path(tempfile.mkdtemp(prefix=f".{target.name}.making-", dir=target.parent))
    try:
        making.chmod(0o755)
        build(making)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
