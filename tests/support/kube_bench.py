"""kube-bench, built once from the Go module proxy, with Debian's `ps`, which it needs and a bare machine has not.

python -m tests.support.kube_bench      get or build it, and print its path
"""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.cache import build_once, cache_dir
from tests.support.private_apt import AptError, PrivateApt

VERSION = "0.6.10"
BENCHMARK = "cis-1.23"  # the newest of this version; section 2 of cfg/cis-1.9 in later versions is the same
_MODULE = "github.com/aquasecurity/kube-bench"
_SUITE = "bookworm"  # the Debian suite of the machines


class NoKubeBench(Exception):
    """kube-bench is not available on this machine."""


def kube_bench_folder() -> Path:
    """Return a folder with `kube-bench`, its `cfg`, and `root` with further files for a machine.

    Raises NoKubeBench.
    """
    target = cache_dir() / "kube-bench" / VERSION
    missing = [tool for tool in ("go", "apt-get", "dpkg-deb") if not shutil.which(tool)]
    if missing and not target.exists():
        raise NoKubeBench(f"kube-bench {VERSION} needs {', '.join(missing)} on PATH")
    return build_once(target, _make)


def _make(making: Path) -> None:
    _build(making)
    try:
        with TemporaryDirectory() as temporary:
            apt = PrivateApt(Path(temporary), [_SUITE])
            apt.update()
            for package in apt.download("procps", "libproc2-0"):
                _run(["dpkg-deb", "-x", str(package), str(making / "root")])
    except AptError as error:
        raise NoKubeBench(str(error)) from error


def _build(making: Path) -> None:
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    with TemporaryDirectory() as module:
        Path(module, "go.mod").write_text("module etcdup.test/kubebench\n")
        _run(["go", "get", f"{_MODULE}@v{VERSION}"], module, env)
        flags = ["-trimpath", "-ldflags", "-s -w", "-o", str(making / "kube-bench")]
        _run(["nice", "-n", "10", "go", "build", *flags, _MODULE], module, env)
        source = _run(["go", "list", "-m", "-f", "{{.Dir}}", _MODULE], module, env).strip()
        # Go's module cache is read-only. copyfile does not copy the mode.
        shutil.copytree(Path(source, "cfg"), making / "cfg", copy_function=shutil.copyfile)
        for folder in (making / "cfg", *(making / "cfg").iterdir()):
            folder.chmod(0o755 if folder.is_dir() else 0o644)


def _run(argv: list[str], cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoKubeBench(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    print(kube_bench_folder())
