"""Programs of Kubernetes, built once from the Go module proxy. The first build takes about 15 minutes of CPU time.

python -m tests.support.kubernetes_binaries kubelet      build it, and print its path
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.cache import build_once, cache_dir

VERSION = "1.37.2"
_MODULE = "k8s.io/kubernetes"


class NoKubernetes(Exception):
    """A program of Kubernetes is not available on this machine."""


def why_not_built(program: str) -> str | None:
    """Return why a test cannot use the program, or None. No test builds it, because that takes too long."""
    if _folder(program).exists():
        return None
    return f"{program} is not built: run `python -m tests.support.kubernetes_binaries {program}`"


def kubernetes_binary(program: str) -> Path:
    """Return the path of a program, for example kubelet. Build it if necessary. Raises NoKubernetes."""
    if why_not_built(program) and not shutil.which("go"):
        raise NoKubernetes(f"{program} {VERSION} needs the Go compiler")

    def build(making: Path) -> None:
        env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
        with TemporaryDirectory() as module:
            Path(module, "go.mod").write_text(_go_mod(module, env))
            setting = f"-X k8s.io/component-base/version.gitVersion=v{VERSION}"
            flags = ["-trimpath", "-ldflags", f"-s -w {setting}", "-o", str(making / program)]
            _run(["nice", "-n", "15", "go", "build", *flags, f"{_MODULE}/cmd/{program}"], module, env)

    return build_once(_folder(program), build) / program


def _folder(program: str) -> Path:
    return cache_dir() / program / VERSION


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
        raise NoKubernetes(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    print(*map(kubernetes_binary, sys.argv[1:]), sep="\n")
