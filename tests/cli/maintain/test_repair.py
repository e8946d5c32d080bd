"""`maintain repair` on real members of each minor: other data, a damaged database, a false alarm, a kill."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdup.remote.etcd.grpc_client import Etcd
from etcdup.remote.etcd.grpc_library import pb
from tests.cli.conftest import Etcdup, assert_nothing_to_do, demo_folder, lines_with, running_demo, wait_until
from tests.cli.maintain.test_fix_space import call
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

S = 20.0
RIGHT, WRONG = b"the-right-value-of-this-key", b"the-wrong-value-of-this-key"
HALF = 8 * 4096


@pytest.fixture(params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    with running_demo(tmp_path, str(request.param)) as etcdup:
        call(etcdup, "infra1", lambda client: client.put(b"/key", RIGHT, timeout_s=S))
        yield etcdup


def database(etcdup: Etcdup, name: str) -> Path:
    (found,) = (demo_folder(etcdup) / name).glob("var/lib/etcd/member/snap/db")
    return found


def drain(etcdup: Etcdup, name: str) -> Path:
    """Stop the member. Return its database."""
    done = etcdup("restart", name, "--drain", "--yes")
    assert done.returncode == 0, done.stderr
    return database(etcdup, name)


def spoil(path: Path) -> None:
    """Change one value in the database. A member that runs serves the wrong value from now on (rule 81)."""
    content, at = path.read_bytes(), -1
    assert RIGHT in content
    with path.open("r+b") as file:
        while (at := content.find(RIGHT, at + 1)) >= 0:
            file.seek(at)
            file.write(WRONG)


def spoil_running(etcdup: Etcdup, name: str) -> None:
    """Change the value below a running member. A transaction that has read it already writes it once more."""
    path = database(etcdup, name)
    wait_until(lambda: RIGHT in path.read_bytes(), "the value is not on the disk")

    def stays_wrong() -> bool:
        if RIGHT in path.read_bytes():
            spoil(path)
        time.sleep(0.5)  # etcd commits after 0.1 s
        return RIGHT not in path.read_bytes()

    wait_until(stays_wrong, "the value is right again")


def raise_corrupt(etcdup: Etcdup, member: int) -> None:
    async def activate(client: Etcd) -> None:
        kind = pb.AlarmType.CORRUPT
        request = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=member, alarm=kind)
        await client._call(client._maintenance.Alarm, request, S)

    call(etcdup, "infra1", activate)


def outcome(etcdup: Etcdup) -> str:
    return str(json.loads(etcdup("maintain", "verify", "--json").stdout)["outcome"])


def ids(etcdup: Etcdup) -> dict[str, str]:
    found = json.loads(etcdup("status", "--json").stdout)["members"]
    return {member["name"]: member["member_id"] for member in found}


def archives(etcdup: Etcdup, name: str) -> list[Path]:
    return [path for path in (demo_folder(etcdup) / name / "var/lib").iterdir() if path.name != "etcd"]


@pytest.mark.in_turn(0, 2)
def test_a_member_with_another_value_is_replaced_and_a_killed_repair_is_finished(up: Etcdup) -> None:
    assert up("maintain", "repair", "infra9").returncode == 2
    before = ids(up)
    assert_nothing_to_do(up, "maintain", "repair", "infra2")
    spoil_running(up, "infra2")
    assert outcome(up) == "different"
    assert lines_with("infra2", up("maintain", "verify").stderr)
    raise_corrupt(up, 0)
    causes = json.loads(up("status", "--json").stdout)["causes"]
    assert "alarm-raised" in {cause["code"] for cause in causes}
    other = up("maintain", "repair", "infra3", "--yes")
    assert other.returncode == 4, other.stderr
    assert up("maintain", "repair", "infra2", "--json").returncode == 3
    assert list(demo_folder(up).rglob("*-before-repair-*.db")) == [], "nothing was changed"
    up.kill_at("RemoveMember", "maintain", "repair", "infra2", "--yes")
    assert up("apply", "--yes").returncode in (1, 4, 5)
    done = up("maintain", "repair", "infra2", "--yes")
    assert done.returncode == 0, done.stderr
    assert len(list(demo_folder(up).rglob("*-before-repair-*.db"))) == 1
    assert outcome(up) == "same"
    after = ids(up)
    assert {name for name in before if before[name] != after[name]} == {"infra2"}
    assert archives(up, "infra2")
    assert up("ctl", "--endpoint", "infra2", "--", "get", "/key", "--print-value-only").stdout.encode() == (
        RIGHT + b"\n"
    )
    assert up("health").returncode == 0
    assert up("plan").returncode == 0


@pytest.mark.in_turn(1, 2)
def test_a_damaged_database_is_replaced_and_a_false_alarm_disarmed(up: Etcdup) -> None:
    before = ids(up)
    raise_corrupt(up, int(before["infra3"], 16))
    done = up(
        "maintain", "repair", "infra2", "--yes"
    )  # The data decides, not the member that the alarm names.
    assert done.returncode == 0, done.stderr
    assert (ids(up), up("health").returncode) == (before, 0)

    # Since 3.5, a member whose data differs does not start. 3.4 serves the wrong value.
    spoil(drain(up, "infra3"))
    up("apply", "--yes")
    report = repaired(up, "infra3")
    assert "differs" in report["fault"]

    path = drain(up, "infra1")
    content = bytearray(path.read_bytes())
    content[:HALF] = bytes(HALF)
    path.write_bytes(bytes(content))
    failed = up("apply", "--yes")
    assert failed.returncode == 5, failed.stderr
    assert lines_with("repair", failed.stderr)
    report = repaired(up, "infra1")
    assert "damaged" in report["fault"]
    assert up("health").returncode == 0


def repaired(etcdup: Etcdup, name: str) -> dict[str, str]:
    done = etcdup("maintain", "repair", name, "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, str] = json.loads(done.stdout)["repair"]
    assert Path(report["snapshot"]).is_file()
    assert outcome(etcdup) == "same"
    return report
