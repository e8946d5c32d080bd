"""Upgrades from 3.4 to 3.7 and downgrades to 3.5, one minor at a time, under load. All keys are compared."""

import pytest

from tests.lab.load import load_on
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.lab.test_kill_changes import kill_at_each
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

VERSION_PATH = ("3.4.23", "3.5.33", "3.6.14", "3.7.1", "3.6.14", "3.5.33")
KEYS = 200
# Each of these steps still follows the steps before it, on any member. A host that crashes after its binary was
# switched starts the new binary by itself.
KILL_STEPS = ("InstallBinaries", "TakeSnapshot", "SwitchBinaries", "RestartMember", "SwitchBinaries")


@pytest.fixture(autouse=True)
def _binaries() -> None:
    for version in (*VERSION_PATH, "3.5.16"):
        if reason := why_not(version):
            pytest.skip(f"no etcd {version}: {reason}")


@pytest.mark.alone
@pytest.mark.in_turn(1, 4)
def test_upgrades_and_downgrades_over_all_minors_lose_no_key(operator: Operator) -> None:
    names = {machine.name for machine in operator.lab}
    operator.write(version=VERSION_PATH[0], install=path_install(VERSION_PATH[0]))
    operator.apply()
    put_keys(operator)
    before = read_all_keys(operator)
    with load_on(operator.lab, operator) as load:
        for version in VERSION_PATH[1:]:
            operator.write(version=version, install=path_install(version))
            operator.apply()
            assert [member["version"] for member in operator.status()["members"]] == [version] * 3
            assert read_all_keys(operator) == before
        report = load.report()
    report.assert_clean(restarted=names)
    snapshots = sorted(path.name for path in (operator.folder / "backups").glob("*.db"))
    assert len(snapshots) == len(VERSION_PATH) - 1, "one snapshot before each change of the minor version"
    operator.assert_nothing_to_do()


def test_an_upgrade_from_a_too_old_patch_version_is_refused(operator: Operator, texts: Texts) -> None:
    operator.write(version="3.5.16", install=path_install("3.5.16"))
    operator.apply()
    operator.write(version="3.6.14", install=path_install("3.6.14"))
    done = operator.run("apply", "--yes")
    texts(done)
    assert {member["version"] for member in operator.status()["members"]} == {"3.5.16"}


@pytest.mark.in_turn(0, 2)
def test_an_upgrade_is_completed_after_five_kills_and_two_crashes(operator: Operator) -> None:
    operator.write(version="3.5.33", install=path_install("3.5.33"))
    operator.apply()
    put_keys(operator)
    before = read_all_keys(operator)
    operator.write(version="3.6.14", install=path_install("3.6.14"))
    with load_on(operator.lab, operator) as load:
        kill_at_each(operator, KILL_STEPS)
        operator.apply()
        report = load.report()
    assert report.violation is None
    assert report.lost == report.unexpected == ()
    assert [member["version"] for member in operator.status()["members"]] == ["3.6.14"] * 3
    assert read_all_keys(operator) == before
    operator.assert_nothing_to_do()


def put_keys(operator: Operator) -> None:
    """Put many keys with few calls: etcdctl reads transactions from stdin."""
    puts = "\n".join(f'put kept/{number} "value {number}"' for number in range(100))
    for part in range(KEYS // 100):
        text = f"\n{puts.replace('kept/', f'kept/{part}/')}\n\n\n"
        done = operator.run("ctl", "--", "txn", stdin=text)
        assert done.returncode == 0, output_of(done)


def read_all_keys(operator: Operator) -> str:
    return operator.ctl("get", "kept/", "--prefix")
