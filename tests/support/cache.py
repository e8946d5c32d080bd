"""Things that take minutes to make and never change: made once, outside the repo, whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """`$ETCDUP_CACHE`, or `~/.cache/etcdup`."""
    return Path(os.environ.get("ETCDUP_CACHE") or "~/.cache/etcdup").expanduser()


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_once(target: Path, build: Callable[[Path], None]) -> Path:
    """The folder `target`; if missing, made by `build(an empty folder)` and renamed when complete."""
    if target.exists():
        return target
    with file_lock(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _build(target, build)
    return target


def _build(target: Path, build: Callable[[Path], None]) -> None:
    for unfinished in target.parent.glob(f".{target.name}.making-*"):  # its builder died: we hold the lock
        shutil.rmtree(unfinished)
    making = Path(tempfile.mkdtemp(prefix=f".{target.name}.making-", dir=target.parent))
    try:
        making.chmod(0o755)
        build(making)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
