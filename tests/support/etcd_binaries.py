"""Real etcd binaries of the versions that tests need, and bbolt, cached: Debian's, or built from the Go module proxy.

python -m tests.support.etcd_binaries [VERSION...]      get or build them, and print their paths
python -m tests.support.etcd_binaries --missing         get or build what is missing before the tests start
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.cache import build_once, cache_dir
from tests.support.private_apt import PrivateApt

# Versions of Debian's packages, which operators have installed, with their suite.
DEBIAN = {"3.4.23": "bookworm", "3.5.16": "trixie", "3.5.30": "forky"}
# The newest patches of 3.6 and 3.7 are for the upgrade between them.
GO = ("3.5.33", "3.6.14", "3.7.1", "3.6.16", "3.7.3")
VERSIONS = (*DEBIAN, *GO)

# A temporary module requires them: the go.mod files of etcd have `replace`, which `go install pkg@version` refuses.
GO_PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
}
# The tool of the authors of bbolt. `bbolt check` reads a file of any version of etcd.
BBOLT, BBOLT_PACKAGES = "1.5.0", {"bbolt": "go.etcd.io/bbolt/cmd/bbolt"}


class NoBinaries(Exception):
    """These binaries are not available on this machine."""


def why_not(version: str) -> str | None:
    """Return why `etcd_binaries(version)` cannot succeed on this machine, or None."""
    if version not in VERSIONS:
        return f"etcd {version} is not one of {', '.join(VERSIONS)}"
    if _folder(version).exists():
        return None
    needed = ("apt-get", "dpkg-deb") if version in DEBIAN else ("go",)
    missing = [tool for tool in needed if not shutil.which(tool)]
    return f"etcd {version} needs {', '.join(missing)} on PATH" if missing else None


def etcd_binaries(version: str) -> Path:
    """Return a folder with `etcd`, `etcdctl` and, from 3.5 on, `etcdutl`. Build it if necessary."""
    if reason := why_not(version):
        raise NoBinaries(reason)
    return build_once(_folder(version), lambda making: _make(version, making))


def why_no_bbolt() -> str | None:
    """Return why `bbolt()` cannot succeed on this machine, or None."""
    is_available = _bbolt_folder().exists() or shutil.which("go")
    return None if is_available else f"bbolt {BBOLT} needs the Go compiler"


def bbolt() -> Path:
    """Return the program `bbolt`. Build it if necessary."""
    if reason := why_no_bbolt():
        raise NoBinaries(reason)
    return build_once(_bbolt_folder(), lambda making: _build_go(BBOLT_PACKAGES, BBOLT, making)) / "bbolt"


def release_tarball(version: str) -> Path:
    """Return `etcd-v{version}-linux-amd64.tar.gz` with the layout of a release. It is cached, so it never changes."""
    name = f"etcd-v{version}-linux-amd64"
    binaries = etcd_binaries(version)
    folder = build_once(cache_dir() / "release" / version, lambda making: _pack(binaries, name, making))
    return folder / f"{name}.tar.gz"


def release_sha256(version: str) -> str:
    return hashlib.sha256(release_tarball(version).read_bytes()).hexdigest()


def _folder(version: str) -> Path:
    return cache_dir() / "etcd" / version


def _bbolt_folder() -> Path:
    return cache_dir() / "bbolt" / BBOLT


def _make(version: str, making: Path) -> None:
    if version in DEBIAN:
        _unpack_debian(version, making)
    else:
        _build_go(GO_PACKAGES, version, making)
    output = _run([str(making / "etcd"), "--version"]).split("\n")[0]
    if output != f"etcd Version: {version}":
        raise NoBinaries(f"expected etcd {version}, but `etcd --version` prints: {output}")


def _unpack_debian(version: str, making: Path) -> None:
    with TemporaryDirectory() as temporary:
        apt = PrivateApt(Path(temporary), [DEBIAN[version]])
        apt.update()
        for package in apt.download("etcd-server", "etcd-client"):
            _run(["dpkg-deb", "-x", str(package), temporary])
        for tool in GO_PACKAGES:
            if (binary := Path(temporary, "usr/bin", tool)).exists():
                shutil.copy2(binary, making / tool)


def _build_go(packages: Mapping[str, str], version: str, making: Path) -> None:
    """Build these packages of the Go module proxy, all of one version, as programs of these names."""
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    with TemporaryDirectory() as module:
        Path(module, "go.mod").write_text("module etcdup.test/binaries\n")
        _run(["go", "get", *(f"{path}@v{version}" for path in packages.values())], module, env)
        for tool, path in packages.items():
            flags = ["-trimpath", "-ldflags", "-s -w", "-o", str(making / tool)]
            _run(["go", "build", *flags, path], module, env)


def _pack(binaries: Path, name: str, making: Path) -> None:
    with (
        (making / f"{name}.tar.gz").open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0, filename="") as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for path in (binaries, *sorted(binaries.iterdir())):
            inside = name if path == binaries else f"{name}/{path.name}"
            tar.add(path, arcname=inside, recursive=False, filter=_with_foreign_owner)


def _with_foreign_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the entry with a foreign owner, as official tarballs have. Unpacking must not keep the owner."""
    entry.uid = entry.gid = 1000
    entry.uname = entry.gname = "builder"
    entry.mtime = 0
    return entry


def _run(argv: list[str], cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoBinaries(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def make_missing() -> None:
    """Build the missing versions. Print why a version is not available: tests that need it are skipped."""
    for version in VERSIONS:
        if _folder(version).exists():
            continue
        if reason := why_not(version):
            print(f"skipped: {reason}", file=sys.stderr)
            continue
        print(f"getting etcd {version} (a build takes about 4 minutes)", file=sys.stderr, flush=True)
        try:
            etcd_binaries(version)
        except NoBinaries as error:
            print(f"etcd {version} is not available: {error}", file=sys.stderr)
    try:
        bbolt()  # After the versions of etcd, a build takes a few seconds.
    except NoBinaries as error:
        print(f"bbolt is not available: {error}", file=sys.stderr)


def main() -> None:
    if sys.argv[1:] == ["--missing"]:
        make_missing()
        return
    for version in sys.argv[1:] or VERSIONS:
        started = time.monotonic()
        paths = f"{etcd_binaries(version)}\t{release_tarball(version)}"
        print(f"{version}\t{time.monotonic() - started:.1f} s\t{paths}", flush=True)


if __name__ == "__main__":
    main()
