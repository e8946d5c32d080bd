"""etcdup is killed in each verb that frees space or brings data back. The same command finishes on real machines."""

import json
from collections.abc import Sequence

import pytest

from tests.cli.maintain.test_repair import RIGHT, spoil
from tests.lab.apply_with_faults import apply_and_kill
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.lab.test_offline_defrag import MIB, fill, fragment, wait_for
from tests.support.cases import one_in_turn

VERSIONS = one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1")
# The smallest quota that cluster.yaml accepts.
QUOTA_MIB = 16
FRAGMENTED_MIB, DUE_MIB = 48, 40
FILLED_MIB, FILLED_KEYS = 8, 128
YES = ("--yes",)


def start(operator: Operator, version: str, more: str = "") -> None:
    operator.write(version=version, install=path_install(version), more=more)
    operator.apply()


def kill_and_finish(
    operator: Operator, verb: Sequence[str], steps: Sequence[str], confirm: Sequence[str] = YES
) -> None:
    """Kill the verb at each of these steps in turn, and then let the same command finish."""
    for step in steps:
        apply_and_kill(operator, step, command=verb, confirm=confirm)
    done = operator.run(*verb, *confirm)
    assert done.returncode == 0, output_of(done)
    operator.health()
    plan = operator.run("plan", "--exit-code")
    assert plan.returncode == 0, output_of(plan)


def sizes(operator: Operator) -> list[int]:
    return [member["db_size"] for member in operator.status()["members"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.in_turn(0, 3)
def test_killed_defragmentations_are_finished(operator: Operator, version: str) -> None:
    start(operator, version)
    for step, offline in (("DefragmentMember", ()), ("DefragmentOffline", ("--offline",))):
        fragment(operator, FRAGMENTED_MIB, "fill/", "fill0")
        wait_until_free(operator, DUE_MIB)
        kill_and_finish(operator, ("maintain", "defrag", "--over", f"{DUE_MIB}MiB", *offline), (step, step))
        assert max(sizes(operator)) < DUE_MIB * MIB


def wait_until_free(operator: Operator, mib: int) -> None:
    """Wait until each member has compacted its history. Pages that a transaction frees are free in the next one."""

    def is_free() -> bool:
        operator.ctl("put", "/small", "")
        members = operator.status()["members"]
        return all(member["db_size"] - member["db_in_use"] > mib * MIB for member in members)

    wait_for(is_free, "no space became free")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.in_turn(1, 3)
def test_a_killed_repair_and_a_killed_fix_space_are_finished(operator: Operator, version: str) -> None:
    """The repair is first: a new member replays the log of raft, so its database would reach the quota again."""
    start(operator, version, f"etcd: {{quota: {QUOTA_MIB}MiB}}\n")
    operator.ctl("put", "/kept", RIGHT.decode())
    spoil_stopped(operator, "infra3")
    kill_and_finish(
        operator, ("maintain", "repair", "infra3"), ("RemoveMember", "AddLearner", "PromoteMember")
    )
    assert operator.run("maintain", "verify").returncode == 0
    kept = operator.run("ctl", "--endpoint", "infra3", "--", "get", "/kept", "--print-value-only")
    assert kept.stdout.encode() == RIGHT + b"\n"

    assert "database space exceeded" in fill(operator, 2 * QUOTA_MIB, full=True)
    operator.ctl("del", "--prefix", "fill/")
    kill_and_finish(
        operator, ("maintain", "fix-space"), ("CompactHistory", "DefragmentMember", "DisarmSpaceAlarm")
    )
    assert max(sizes(operator)) < QUOTA_MIB * MIB / 2
    assert operator.status()["alarms"] == []


def spoil_stopped(operator: Operator, name: str) -> None:
    """Change one value in the database of this member. Since 3.5, it does not start with it (rule 81)."""
    done = operator.run("restart", name, "--drain", "--yes")
    assert done.returncode == 0, output_of(done)
    spoil(operator.lab[name].root / "var/lib/etcd/member/snap/db")
    operator.run("apply", "--yes")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.in_turn(2, 3)
def test_killed_restores_of_a_revision_and_of_keys_are_finished(operator: Operator, version: str) -> None:
    start(operator, version, f"backup: {{to: {operator.folder / 'store'}}}\n")
    operator.ctl("put", "/kept", "then")
    fill(operator, FILLED_MIB)
    revision = json.loads(operator.ctl("get", "x", "-w", "json"))["header"]["revision"]
    operator.ctl("put", "/kept", "later")
    operator.ctl("del", "--prefix", "fill/")
    backup = operator.run("backup", "now", "--json")
    assert backup.returncode == 0, output_of(backup)
    name = json.loads(backup.stdout)["name"]

    # Eight transactions: the kill is in or before the first ones.
    at = ("--revision", str(revision))
    kill_and_finish(operator, ("restore-keys", "--prefix", "fill/", *at), ("RestoreKeys",))
    assert filled_keys(operator) == FILLED_KEYS
    operator.ctl("del", "--prefix", "fill/")
    kill_and_finish(
        operator,
        ("restore", name, *at),
        ("StageRestore", "StopMembers", "PlaceData", "OpenClients"),
        ("--yes-restore", "prod"),
    )
    assert operator.ctl("get", "/kept", "--print-value-only") == "then\n"
    assert filled_keys(operator) == FILLED_KEYS


def filled_keys(operator: Operator) -> int:
    return len(operator.ctl("get", "--prefix", "fill/", "--keys-only").split())
