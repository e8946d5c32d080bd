"""The locks of `make demo` and `make test`, and the bill of materials of the wheel."""

import re
import runpy
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCKS = ("demo", "test", "fuzz")
GROUPS = {"demo": ("build",), "test": ("build", "test", "check"), "fuzz": ("fuzz",)}
_PIN = re.compile(r"([a-z0-9-]+)==([^ ;\\]+)(?: ; ([^\\]+))? \\")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def lock_lines(name: str) -> list[str]:
    text = (ROOT / f"lock/{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def pins(name: str) -> dict[str, str]:
    return {found[1]: found[2] for line in lock_lines(name) if (found := _PIN.fullmatch(line))}


WHEEL = f"pip-{pins('demo')['pip']}-py3-none-any.whl"


def requirements(name: str) -> list[Requirement]:
    """Return what the lock must contain, from pyproject.toml."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [each for group in GROUPS[name] for each in content["dependency-groups"][group]]
    own = [] if name == "fuzz" else content["project"]["dependencies"] + content["build-system"]["requires"]
    return [Requirement(each) for each in own + groups]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_only_exact_versions_with_hashes(name: str) -> None:
    """pip reads options in this file too, for example the address of another package index."""
    lines = lock_lines(name)
    assert [line for line in lines if not _PIN.fullmatch(line) and not _HASH.fullmatch(line)] == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert _HASH.fullmatch(line) or _HASH.fullmatch(following), line


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_what_pyproject_toml_requires(name: str) -> None:
    locked = pins(name)
    for each in requirements(name):
        if each.marker is None or each.marker.evaluate():
            assert each.name.replace(".", "-") in locked, "run scripts/update-lock"
            assert each.specifier.contains(locked[each.name.replace(".", "-")]) or each.marker


def test_tests_run_with_the_versions_of_the_demo() -> None:
    assert pins("demo").items() <= pins("test").items()


def test_the_bill_of_materials_is_that_of_the_lock(tmp_path: Path) -> None:
    made = tmp_path / "etcdup.cdx.json"
    subprocess.run([sys.executable, ROOT / "scripts/make-sbom", made], check=True, timeout=60)
    assert made.read_text() == (ROOT / "lock/etcdup.cdx.json").read_text(), "run scripts/make-sbom"
    text = made.read_text()
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        assert f'"name": "{Requirement(each).name.replace(".", "-")}"' in text
    for tool in ("pytest", "hatchling", "ruff"):
        assert f'"name": "{tool}"' not in text, "the wheel does not need it"


class _Index(BaseHTTPRequestHandler):
    """A package index whose wheel of pip is another file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        page = f'<a href="/files/{WHEEL}#sha256={"0" * 64}">x</a>'
        self.wfile.write(page.encode() if self.path == "/pip/" else b"another pip")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_wheel_of_pip_must_have_a_hash_of_the_lock() -> None:
    """Without ensurepip, as on Debian, get-pip downloads pip. It runs the file only if the lock has its hash."""
    script = runpy.run_path(str(ROOT / "scripts/get-pip.py"))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(SystemExit, match=f"the SHA-256 of {WHEEL} from the package index is not in"):
            script["install_locked"](ROOT / "lock/demo.txt", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
