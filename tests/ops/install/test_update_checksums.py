"""The maintainer's script that reads the checksums of all releases of etcd again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from etcdup.core.spec.version import NEWEST
from tests.support.texts import Texts

SCRIPT = Path(__file__).parents[3] / "scripts/update-checksums"
OLD, NEW = "a" * 64, "b" * 64


def publish(folder: Path, version: str, sha256: str) -> None:
    release = folder / f"v{version}"
    release.mkdir(parents=True)
    names = (f"etcd-v{version}-linux-amd64.tar.gz", f"etcd-v{version}-darwin-amd64.zip", "other.tar.gz")
    (release / "SHA256SUMS").write_text("".join(f"{sha256}  {name}\n" for name in names))


def update(folder: Path, base: str = "") -> subprocess.CompletedProcess[str]:
    argv = [
        sys.executable,
        str(SCRIPT),
        "--from",
        base or (folder / "releases").as_uri(),
        "--data",
        str(folder / "sums.json"),
    ]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with releases, and with the checksums of 3.5.9 and of a release that is gone."""
    known = {"3.5.9": {"amd64": OLD}, "3.4.1": {"amd64": OLD, "arm64": OLD}}
    (tmp_path / "sums.json").write_text(json.dumps({"sha256": known}))
    for patch in (0, 2, 3, 5, 6, 9, 10):
        publish(tmp_path / "releases", f"3.5.{patch}", OLD if patch == 9 else NEW)
    publish(tmp_path / "releases", "3.7.0", NEW)
    return tmp_path


def test_new_releases_are_added_and_known_ones_kept(folder: Path) -> None:
    done = update(folder)
    assert (done.returncode, done.stdout) == (0, "new: 3.5.0, 3.5.2, 3.5.3, 3.5.5, 3.5.6, 3.5.10, 3.7.0\n")
    sums = json.loads((folder / "sums.json").read_text())["sha256"]
    assert list(sums) == ["3.4.1", "3.5.0", "3.5.2", "3.5.3", "3.5.5", "3.5.6", "3.5.9", "3.5.10", "3.7.0"]
    assert (sums["3.5.10"], sums["3.4.1"]) == ({"amd64": NEW}, {"amd64": OLD, "arm64": OLD})


def test_a_checksum_that_changed_stops_the_script(texts: Texts, folder: Path) -> None:
    before = (folder / "sums.json").read_text()
    publish(folder / "releases", "3.4.0", NEW)
    publish(folder / "releases", "3.4.1", NEW)
    done = update(folder)
    assert done.returncode == 1
    texts(done.stderr)
    assert (folder / "sums.json").read_text() == before


def test_http_is_refused(folder: Path) -> None:
    assert update(folder, "http://127.0.0.1:9").returncode == 2


def test_all_supported_minors_are_read() -> None:
    text = SCRIPT.read_text()
    minors = ", ".join(f'"{major}.{minor}"' for major, minor in NEWEST)
    assert f"MINORS = ({minors})" in text
