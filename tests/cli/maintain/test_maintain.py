"""`maintain` on real members: defragment, move the leader, compare the data."""

import json

import pytest

from tests.cli.conftest import Etcdup, assert_nothing_to_do, run_and_answer, start_demo


def members(etcdup: Etcdup) -> dict[str, dict[str, object]]:
    found = json.loads(etcdup("status", "--json").stdout)["members"]
    return {member["name"]: member for member in found}


def leader(etcdup: Etcdup) -> str:
    return next(name for name, member in members(etcdup).items() if member["role"] == "leader")


@pytest.mark.in_turn(1, 2)
def test_defragment_move_the_leader_and_verify(etcdup: Etcdup) -> None:
    start_demo(etcdup)
    assert etcdup("maintain", "defrag", "infra9").returncode == 2
    assert etcdup("maintain", "defrag", "--over", "much").returncode == 2
    assert_nothing_to_do(etcdup, "maintain", "defrag")
    before = members(etcdup)
    assert run_and_answer(etcdup, "n", "maintain", "defrag", "infra2", "--all") == 130
    assert etcdup("maintain", "defrag", "infra2", "--all", "--json").returncode == 3
    done = etcdup("maintain", "defrag", "--all", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [step["step"] for step in report["done"]] == ["DefragmentMember"] * 3
    assert {each["member"] for each in report["databases"]} == set(before)
    assert all(each["size_after"] > 0 for each in report["databases"])
    old = leader(etcdup)
    target = next(name for name in before if name != old)
    assert etcdup("maintain", "move-leader", target, "--yes").returncode == 0
    assert leader(etcdup) == target
    assert_nothing_to_do(etcdup, "maintain", "move-leader", target, "--yes")
    verified = etcdup("maintain", "verify")
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.splitlines()[-1] == "the data of all members is the same"
    assert etcdup("health").returncode == 0
