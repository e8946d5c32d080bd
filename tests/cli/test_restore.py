"""`etcdup restore` as it is typed, on real local members: watchers' revisions, damage, a kill in the middle."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdup.core.restoration import can_bump
from etcdup.core.version import parse_version
from tests.cli.conftest import Etcdup, prepare_demo
from tests.support.etcd_binaries import etcd_binaries, why_not

VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")
PATIENCE_S = 90.0


@pytest.fixture(params=VERSIONS)
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of this version with a few keys, running."""
    version = str(request.param)
    if why := why_not(version):
        pytest.skip(why)
    etcdup = Etcdup(tmp_path)
    place = tmp_path / ".local/share/etcdup/demo"
    prepare_demo(etcdup, place, version=version)
    etcdup.extra["ETCDUP_FILE"] = str(place / "cluster.yaml")
    done = etcdup("apply", "--yes")
    assert done.returncode == 0, done.stderr
    yield etcdup
    etcdup("destroy", "--yes-destroy", "demo")


def ctl(etcdup: Etcdup, *arguments: str) -> str:
    done = etcdup("ctl", "--", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def version_of(etcdup: Etcdup) -> str:
    text = Path(etcdup.extra["ETCDUP_FILE"]).read_text()
    return next(each for each in VERSIONS if f"version: {each}" in text)


def revision(etcdup: Etcdup) -> int:
    return int(json.loads(ctl(etcdup, "get", "/a", "--write-out=json"))["header"]["revision"])


def snapshot(etcdup: Etcdup, version: str) -> Path:
    """By etcdctl itself, from one member (rule 53)."""
    path = etcdup.folder / "snapshot.db"
    variables = etcdup("export", "env")
    assert variables.returncode == 0, variables.stderr
    script = variables.stdout + (
        f'\nETCDCTL_ENDPOINTS="${{ETCDCTL_ENDPOINTS%%,*}}" {etcd_binaries(version)}/etcdctl '
        f"snapshot save {path}\n"
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return path


def test_restore(up: Etcdup) -> None:
    ctl(up, "put", "/a", "kept")
    path = snapshot(up, version_of(up))
    ctl(up, "put", "/a", "lost")
    ctl(up, "put", "/b", "lost")
    before = revision(up)
    _refuses_damage(up, path)
    unasked = up("restore", str(path))
    assert (unasked.returncode, "--yes-restore demo" in unasked.stderr) == (2, True)

    killed = up.start("restore", str(path), "--yes-restore", "demo")
    journal = Path(up.extra["ETCDUP_FILE"]).parent / ".etcdup/demo.jsonl"
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends and '"PlaceData"' not in journal.read_text():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    middle = up("apply", "--yes")
    if middle.returncode:
        assert "a restore of cluster demo was begun and is not finished" in middle.stderr
        done = up("restore", str(path), "--yes-restore", "demo")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "cluster is healthy"
        assert "kube-apiserver" in done.stderr
    assert ctl(up, "get", "/a", "--print-value-only") == "kept\n"
    assert ctl(up, "get", "/b") == ""
    if can_bump(parse_version(version_of(up))):
        assert revision(up) > before
    again = up("restore", str(path), "--yes-restore", "demo")
    assert (again.returncode, "restored from already" in again.stderr) == (4, True)
    assert up("plan", "--exit-code").returncode == 0

    back = up("restore", "--undo", "--yes-restore", "demo")
    assert back.returncode == 0, back.stderr
    assert back.stdout.splitlines()[-1] == "cluster is healthy"
    assert ctl(up, "get", "/b", "--print-value-only") == "lost\n"
    assert up("plan", "--exit-code").returncode == 0
    assert up("restore", "--undo", "--yes-restore", "demo").returncode == 4


def _refuses_damage(up: Etcdup, path: Path) -> None:
    """Truncations and flips of one bit, each refused with the cluster as it was (rule 54)."""
    whole = path.read_bytes()
    damaged = path.with_name("damaged.db")
    cuts = [whole[: len(whole) // 2], whole[:-32]]
    flips = [
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        for at in range(100, len(whole), len(whole) // 12)
    ]
    for content in [*cuts, *flips[:1], *flips[-1:]]:
        damaged.write_bytes(content)
        done = up("restore", str(damaged), "--yes-restore", "demo")
        assert done.returncode == 4, done.stderr
        assert "is not a whole snapshot" in done.stderr
    assert ctl(up, "get", "/b", "--print-value-only") == "lost\n"
