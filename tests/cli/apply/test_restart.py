"""`etcdup restart` on real members: all, one, and a drain with the apply after it. `logs` and `history` show them."""

import json

from tests.cli.conftest import Etcdup, demo_pids, run_and_answer, start_demo


def test_restart_drain_and_apply(etcdup: Etcdup) -> None:
    start_demo(etcdup)
    before = demo_pids(etcdup)
    assert etcdup("restart", "infra9").returncode == 2
    assert etcdup("restart", "--drain").returncode == 2
    assert run_and_answer(etcdup, "n", "restart") == 130
    assert demo_pids(etcdup) == before
    restarted = etcdup("restart", "--yes")
    assert restarted.returncode == 0, restarted.stderr
    assert restarted.stdout.splitlines()[-1] == "cluster is healthy"
    after = demo_pids(etcdup)
    assert not set(before) & set(after)
    assert etcdup("restart", "infra2", "--yes").returncode == 0
    assert demo_pids(etcdup)[::2] == after[::2]
    assert demo_pids(etcdup)[1] != after[1]
    drained = etcdup("restart", "infra1", "--drain", "--yes")
    assert drained.returncode == 0, drained.stderr
    status = json.loads(etcdup("status", "--json").stdout)
    assert (status["size"], status["healthy"], status["can_lose"]) == (3, 2, 0)
    assert etcdup("restart", "infra2", "--drain", "--yes").returncode == 4
    assert etcdup("restart", "infra1", "--drain", "--yes").returncode == 0
    assert etcdup("apply", "--yes").returncode == 0
    assert etcdup("health").returncode == 0
    logs = etcdup("logs", "--lines", "5")
    assert logs.returncode == 0, logs.stderr
    lines = logs.stdout.splitlines()
    assert len(lines) == 15
    assert_sorted_by_time(lines)
    assert {line.split()[1] for line in etcdup("logs", "infra2").stdout.splitlines()} == {"infra2"}
    runs = json.loads(etcdup("history", "--json").stdout)["runs"]
    assert [(run["verb"], run["result"]) for run in runs] == [
        ("apply", "done"),
        ("restart", "done"),
        ("restart infra2", "done"),
        ("restart infra1 --drain", "done"),
        ("apply", "done"),
    ]
    assert {step["host"] for step in runs[1]["steps"]} == {"infra1", "infra2", "infra3"}
    assert all(run["verb"] in etcdup("history").stdout for run in runs)


def assert_sorted_by_time(lines: list[str]) -> None:
    """The lines of a member keep their order: etcd can write two lines in the reverse order of their times."""
    latest: dict[str, str] = {}
    order = []
    for at, host in (line.split()[:2] for line in lines):
        latest[host] = max(at, latest.get(host, ""))
        order.append(latest[host])
    assert order == sorted(order), lines
