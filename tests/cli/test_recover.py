"""`etcdup recover` as it is typed, on real local members that have lost each other and no data."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Etcdup, prepare_demo
from tests.support.expired import expired_leaves

SURE = ("--yes-recover", "demo")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Etcdup]:
    etcdup = Etcdup(tmp_path)
    prepare_demo(etcdup, place(etcdup))
    etcdup.extra["ETCDUP_FILE"] = str(place(etcdup) / "cluster.yaml")
    done = etcdup("apply", "--yes")
    assert done.returncode == 0, done.stderr
    yield etcdup
    etcdup("destroy", "--yes-destroy", "demo")


def place(etcdup: Etcdup) -> Path:
    return etcdup.folder / ".local/share/etcdup/demo"


def pid_of(etcdup: Etcdup, number: int) -> int:
    return int((place(etcdup) / f"infra{number}/run/etcdup/etcd.pid").read_text())


def kill(etcdup: Etcdup, *numbers: int) -> None:
    for pid in (pid_of(etcdup, number) for number in numbers):
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)


def let_all_expire(etcdup: Etcdup) -> None:
    for _, path, content in expired_leaves(place(etcdup) / "cluster.yaml"):
        Path(path).write_bytes(content)


def cluster_id(etcdup: Etcdup) -> int:
    done = etcdup("ctl", "--endpoint", "infra1", "--", "get", "/a", "--write-out=json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["count"] == 1
    return int(found["header"]["cluster_id"])


def test_what_has_expired_is_renewed_and_what_is_stopped_is_started(up: Etcdup) -> None:
    assert up("ctl", "--endpoint", "infra1", "--", "put", "/a", "kept").returncode == 0
    before = cluster_id(up)
    kill(up, 1, 2)
    let_all_expire(up)
    assert up("health").returncode == 1

    told = up("recover", "--json")
    assert told.returncode == 3, told.stderr
    steps = [step["step"] for step in json.loads(told.stdout)["plan"]["steps"]]
    assert steps == ["IssueCertificates", *["InstallFiles"] * 3, "StartMember", "StartMember"]
    assert up("recover").returncode == 2, "nobody to ask"

    done = up("recover", *SURE)
    assert done.returncode == 0, done.stderr
    assert "What costs nothing is tried first" in " ".join(done.stderr.split())
    assert "The quorum is back: nothing was lost, and nothing was rebuilt." in done.stderr
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    assert cluster_id(up) == before
    assert up("certs", "list").returncode == 0
    assert up("recover", *SURE).returncode == 4, "it has a quorum"


def test_what_is_not_in_etcdups_power_is_left_to_a_person(up: Etcdup) -> None:
    """Two members stand still with their data: they run, so nothing can be started, and nothing is lost."""
    for number in (2, 3):
        os.kill(pid_of(up, number), signal.SIGSTOP)
    try:
        done = up("recover", "--json", *SURE)
        while "the cluster has a quorum" in done.stderr:  # the third still follows its old leader
            done = up("recover", "--json", *SURE)
    finally:
        for number in (2, 3):
            os.kill(pid_of(up, number), signal.SIGCONT)
    assert done.returncode == 4, done.stderr
    assert "nothing is lost: infra1, infra2, infra3 can be reached and have their data" in done.stderr
    assert "infra2 runs and does not answer" in done.stderr
    (refused,) = json.loads(done.stdout)["error"]["refused"]
    assert refused["rules"] == [62, 68]
