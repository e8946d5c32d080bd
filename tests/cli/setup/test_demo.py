"""All verbs on a demo with real etcd, as this user and as a user without privileges."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.cli.setup.demo import program_text
from tests.cli.conftest import (
    VERSION,
    Etcdup,
    assert_nothing_to_do,
    lines_with,
    prepare_demo,
    run_and_answer,
    start_demo,
)
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))

OTHER_USER = 65534
INTERRUPTED = r"interrupted; \d+ of 16 steps are done; run `etcdup apply` again to resume"
HEALTHY_LINE = ": got healthy result from https://127.77."


@pytest.fixture(scope="module")
def up(etcdup: Etcdup) -> Etcdup:
    """The running demo. Its cluster.yaml is the default file of each run."""
    shown = start_demo(etcdup, "--verbose", "--log-file", str(etcdup.folder / "demo.log"))
    assert re.search(r"infra1: .*\(exit status 0, \d+\.\d\d s\)", shown)
    return etcdup


def pid_of(etcdup: Etcdup, member: str) -> int:
    return int((etcdup.folder / f".local/share/etcdup/demo/{member}/run/etcdup/etcd.pid").read_text())


def test_demo_ends_with_the_line_of_etcds_guide(up: Etcdup) -> None:
    done = up("demo")
    assert done.returncode == 0
    assert [HEALTHY_LINE in line for line in done.stdout.splitlines()] == [True] * 3 + [False]
    assert done.stdout.splitlines()[-1] == "cluster is healthy"


def test_the_log_file_has_each_command_and_no_secret(up: Etcdup) -> None:
    """That no key is in it, nor in what `--verbose` prints, is checked for all files before the demo goes down."""
    path = up.folder / "demo.log"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.stat().st_mode & 0o777 == 0o600
    assert (lines[0]["event"], lines[0]["verb"]) == ("start", "etcdup demo")
    assert (lines[-1]["event"], lines[-1]["exit_code"]) == ("end", 0)
    commands = [line for line in lines if line["event"] == "command"]
    assert {line["host"] for line in commands} == {"infra1", "infra2", "infra3"}
    assert any(line["command"].startswith("write ") and "key.pem" in line["command"] for line in commands)
    # A lock ends with its connection, so it has no exit status.
    ended = [line for line in commands if " etcdup-lock " not in line["command"]]
    assert all(line["exit_status"] == 0 and line["duration_s"] >= 0 for line in ended)
    assert up.secrets.find_leaks() == []


def test_health(up: Etcdup) -> None:
    done = up("health")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "cluster is healthy")
    told = json.loads(up("health", "--json").stdout)
    assert (told["cluster"], [member["healthy"] for member in told["members"]]) == ("healthy", [True] * 3)


def test_what_it_prints_can_be_pasted_into_a_shell(up: Etcdup) -> None:
    status, put, down = (line for line in up("demo").stderr.splitlines() if " -m etcdup " in line)
    assert "--down" in down
    for line in (status, put):
        done = subprocess.run(
            line, shell=True, env=up.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_etcdup_is_named_by_its_path_if_it_is_not_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "etcdup"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert program_text(str(program)) == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_text(str(program)) == "etcdup"


def test_status(up: Etcdup) -> None:
    assert up("status").returncode == 0
    told = json.loads(up("status", "--json").stdout)
    assert told["leader"] in ("infra1", "infra2", "infra3")
    assert (told["healthy"], told["size"], told["can_lose"], told["alarms"]) == (3, 3, 1, [])
    assert {member["version"] for member in told["members"]} == {VERSION}
    assert all(360 <= member["certificate"]["days_left"] <= 366 for member in told["members"])


def test_plan_without_changes_exits_with_0(up: Etcdup) -> None:
    done = up("plan", "--exit-code")
    assert (done.returncode, done.stdout) == (0, "cluster demo: nothing to do\n")
    assert json.loads(up("plan", "--json").stdout)["steps"] == []


def test_apply_with_nothing_to_do_proves_health(up: Etcdup) -> None:
    assert_nothing_to_do(up)
    assert up("apply").stdout.splitlines()[-1] == "cluster is healthy"


def test_ctl_runs_etcdctl_and_returns_its_exit_code(up: Etcdup) -> None:
    assert up("ctl", "--", "put", "greeting", "hello").stdout == "OK\n"
    assert up("ctl", "get", "greeting", "--print-value-only").stdout == "hello\n"
    assert up("ctl", "--endpoint", "infra2", "--", "endpoint", "health").returncode == 0
    assert up("ctl", "--", "get").returncode not in (0, None)


def test_ctl_saves_a_snapshot_on_this_machine(texts: Texts, up: Etcdup) -> None:
    snapshot = up.folder / "snapshot.db"
    for words in (("--endpoint", "infra1", "--"), ("--",)):
        done = up("ctl", *words, "snapshot", "save", str(snapshot))
        assert done.returncode == 0, done.stderr
        assert snapshot.stat().st_size > 0
        snapshot.unlink()
    texts(re.sub(r"infra\d", "MEMBER", line) for line in lines_with("etcdctl", done.stderr))


def test_ctl_streams_a_watch_until_it_is_interrupted(up: Etcdup) -> None:
    seen = up.folder / "seen"
    deadline = time.monotonic() + 30
    with seen.open("w") as output:
        argv = up.argv("ctl", "--", "watch", "streamed")
        watching = subprocess.Popen(argv, env=up.environment, stdout=output, start_new_session=True)
    try:
        while "PUT" not in seen.read_text() and time.monotonic() < deadline:
            up("ctl", "--", "put", "streamed", "x")
        assert "PUT" in seen.read_text()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
    finally:
        with suppress(ProcessLookupError):
            os.killpg(watching.pid, signal.SIGKILL)
        watching.wait()


def test_ctl_rejects_an_unknown_member(up: Etcdup) -> None:
    done = up("ctl", "--endpoint", "infra9", "--", "endpoint", "health")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "error: --endpoint: there is no member infra9",
    )


@pytest.mark.parametrize("kind", ["kubeadm", "kube-apiserver"])
def test_exported_files_exist_and_work(up: Etcdup, kind: str) -> None:
    text = up("export", kind).stdout
    copies = [line.removeprefix("#").split("->") for line in text.splitlines() if "->" in line]
    ca, cert, key = (Path(here.strip()) for here, _ in copies)
    assert [to.strip() for _, to in copies] == [
        "/etc/kubernetes/pki/etcd/ca.crt",
        "/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "/etc/kubernetes/pki/apiserver-etcd-client.key",
    ]
    etcdctl = up.folder / ".local/share/etcdup/demo/infra1/opt/etcd/current/etcdctl"
    url = json.loads(up("status", "--json").stdout)["members"][0]["url"]
    flags = {"--endpoints": url, "--cacert": ca, "--cert": cert, "--key": key}
    argv = [str(etcdctl), "get", "greeting", *(f"{flag}={value}" for flag, value in flags.items())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_export_env_is_enough_for_a_shell(up: Etcdup) -> None:
    etcdctl = up.folder / ".local/share/etcdup/demo/infra1/opt/etcd/current/etcdctl"
    script = f'eval "$1"; {etcdctl} endpoint health'
    done = subprocess.run(
        ["sh", "-c", script, "sh", up("export", "env").stdout], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.count("is healthy") + done.stderr.count("is healthy")) == (0, 3)


def test_a_killed_leader_is_reported_planned_and_started(texts: Texts, up: Etcdup) -> None:
    leader = json.loads(up("status", "--json").stdout)["leader"]
    os.kill(pid_of(up, leader), signal.SIGKILL)
    sick = up("health", "--json")  # It waits for the election of the other members.
    assert sick.returncode == 1
    told = json.loads(sick.stdout)
    assert told["cluster"] == "degraded"
    assert [each["name"] for each in told["members"] if not each["healthy"]] == [leader]
    assert up("status").returncode == 0
    pending = up("plan", "--exit-code", "--out", "saved.json")
    assert pending.returncode == 3
    steps = json.loads((up.folder / "saved.json").read_text())["steps"]
    assert [(step["step"], step["host"]) for step in steps] == [("StartMember", leader)]
    texts(up("apply"))
    done = up("apply", "--yes", "saved.json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "cluster is healthy")
    stale = up("apply", "--yes", "saved.json")
    texts(stale)


def test_a_member_that_cannot_start_leaves_the_apply_partly_done(up: Etcdup) -> None:
    url = json.loads(up("status", "--json").stdout)["members"][2]["url"]
    os.kill(pid_of(up, "infra3"), signal.SIGKILL)
    time.sleep(0.2)
    address, port = url.removeprefix("https://").split(":")
    with socket.create_server((address, int(port))):
        done = up("apply", "--yes")
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines()[-1].startswith("hint: ")
    assert up("apply", "--yes").returncode == 0


def test_no_second_operator_at_the_same_time(texts: Texts, up: Etcdup) -> None:
    os.kill(pid_of(up, "infra2"), signal.SIGKILL)
    lock = up.folder / ".local/share/etcdup/demo/infra1/run/etcdup/lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "60"]) as holder:
        try:
            time.sleep(0.3)
            done = up("apply", "--yes")
            texts(done)
            assert up("status").returncode == 0
        finally:
            subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
            holder.kill()
    assert up("apply", "--yes").returncode == 0


def test_a_declined_question_changes_nothing(up: Etcdup) -> None:
    os.kill(pid_of(up, "infra2"), signal.SIGKILL)
    time.sleep(0.2)
    assert run_and_answer(up, signal.SIGINT, "apply") == 130
    assert run_and_answer(up, "n", "apply") == 130
    assert up("plan", "--exit-code").returncode == 3
    assert run_and_answer(up, "y", "apply") == 0
    assert up("health").returncode == 0


def test_destroy_needs_the_name_and_archives_the_data(texts: Texts, up: Etcdup) -> None:
    assert up("destroy").returncode == 2
    assert up("destroy", "--yes-destroy", "another").returncode == 4
    done = up("destroy", "--yes-destroy", "demo")
    assert done.returncode == 0, done.stderr
    texts(lines_with("deleted", done.stderr))
    root = up.folder / ".local/share/etcdup/demo"
    for name in ("infra1", "infra2", "infra3"):
        assert not (root / name / "var/lib/etcd").exists()
        (kept,) = (root / name / "var/lib").glob("etcd.aside-*/member")
        assert kept.is_dir()
        assert f"{name}  {kept.parent}" in done.stderr
    assert up("destroy", "--yes-destroy", "demo").returncode == 0
    assert up("demo").returncode == 0


def test_down_deletes_the_demo(up: Etcdup) -> None:
    demo = up.folder / ".local/share/etcdup/demo"
    done = up("demo", "--down")
    assert (done.returncode, demo.exists()) == (0, False)
    assert done.stderr == f"stopped 3 members and deleted {demo}\n"
    again = up("demo", "--down")
    assert (again.returncode, again.stderr) == (0, f"{demo} has no demo: nothing to do\n")


@pytest.fixture
def rightless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcdup]:
    """etcdup for a user without privileges, who has a separate home."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user")
    folder = tmp_path_factory.mktemp("rightless")
    called = Etcdup(folder, user=OTHER_USER)
    prepare_demo(called, folder / "it", members=1)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OTHER_USER, OTHER_USER)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    if called("--version").returncode != 0:
        pytest.skip("another user cannot read this checkout or its Python")
    yield called
    called("demo", "--down", "--dir", "it")


def test_a_user_without_privileges_can_run_a_demo(rightless: Etcdup) -> None:
    done = rightless("demo", "--dir", "it")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    assert rightless("-f", "it/cluster.yaml", "ctl", "put", "a", "b").stdout == "OK\n"
    assert rightless("demo", "--dir", "it", "--down").returncode == 0
    assert not (rightless.folder / "it").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_reports_its_progress_and_resumes(etcdup: Etcdup, number: signal.Signals) -> None:
    folder = etcdup.folder / f"interrupted-{number}"
    prepare_demo(etcdup, folder)
    started = etcdup.start("demo", "--dir", str(folder))
    assert started.stderr is not None
    try:
        for line in started.stderr:
            if "sending" in line:
                break
        started.send_signal(number)
        rest = started.stderr.read()
        assert started.wait(30) == 130
        assert re.fullmatch(INTERRUPTED, rest.splitlines()[-1]), rest
        assert "Traceback" not in rest, rest
        assert etcdup("demo", "--dir", str(folder)).returncode == 0
    finally:
        started.kill()
        started.communicate()
        assert etcdup("demo", "--dir", str(folder), "--down").returncode == 0
