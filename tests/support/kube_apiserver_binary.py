"""kube-apiserver, built once from the Go module proxy. The build takes about 15 minutes of CPU time.

python -m tests.support.kube_apiserver_binary      build it, and print its path
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.cache import build_once, cache_dir

VERSION = "1.37.2"
_MODULE = "k8s.io/kubernetes"


class NoKubeApiserver(Exception):
    """kube-apiserver is not available on this machine."""


def why_not_built() -> str | None:
    """Return why a test cannot use the binary, or None. No test builds it, because that takes too long."""
    return None if _folder().exists() else "kube-apiserver is not built: use `make test-clients`"


def kube_apiserver() -> Path:
    """Return the path of the binary. Build it if necessary. Raises NoKubeApiserver."""
    if why_not_built() and not shutil.which("go"):
        raise NoKubeApiserver(f"kube-apiserver {VERSION} needs the Go compiler")
    return build_once(_folder(), _build) / "kube-apiserver"


def _folder() -> Path:
    return cache_dir() / "kube-apiserver" / VERSION


def _build(making: Path) -> None:
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    with TemporaryDirectory() as module:
        Path(module, "go.mod").write_text(_go_mod(module, env))
        setting = f"-X k8s.io/component-base/version.gitVersion=v{VERSION}"
        flags = ["-trimpath", "-ldflags", f"-s -w {setting}", "-o", str(making / "kube-apiserver")]
        _run(["nice", "-n", "15", "go", "build", *flags, f"{_MODULE}/cmd/kube-apiserver"], module, env)


def _go_mod(module: str, env: dict[str, str]) -> str:
    """Return a go.mod that requires Kubernetes.

    The go.mod of Kubernetes replaces its staging modules by folders, which are not in the module. They are published as
    modules of their own: v1.37.2 of Kubernetes belongs to v0.37.2 of each of them.
    """
    Path(module, "go.mod").write_text("module etcdup.test/kubernetes\n")
    answer = json.loads(_run(["go", "mod", "download", "-json", f"{_MODULE}@v{VERSION}"], module, env))
    theirs = Path(answer["GoMod"]).read_text()
    published = f"v0.{VERSION.removeprefix('1.')}"
    replaced = re.findall(r"^\s*(\S+) => \./staging/", theirs, re.MULTILINE)
    lines = [f"replace {name} => {name} {published}" for name in replaced]
    go = re.search(r"^go .*$", theirs, re.MULTILINE)
    assert go, "each go.mod has a go line"
    heading = ["module etcdup.test/kubernetes", go[0], "godebug default=go" + go[0][3:].rsplit(".", 1)[0]]
    return "\n".join([*heading, f"require {_MODULE} v{VERSION}", *lines, ""])


def _run(argv: list[str], cwd: str, env: dict[str, str]) -> str:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoKubeApiserver(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    print(kube_apiserver())
