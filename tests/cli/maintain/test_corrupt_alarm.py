"""The alarm CORRUPT that etcd itself raises, on real members: what each command says, and the repair."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdup.core.members.quorum import CORRUPT_HINT
from tests.cli.conftest import Etcdup, demo_folder, running_demo, wait_until
from tests.cli.maintain.test_fix_space import call, without_etcd
from tests.cli.maintain.test_repair import RIGHT, S, ids, outcome, spoil_running
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

CHECK_S = 2
# In 3.6, this flag lost its prefix.
OLD_FLAG, FLAG = "experimental-corrupt-check-time", "corrupt-check-time"
FLAGS = {"3.4.23": OLD_FLAG, "3.5.33": OLD_FLAG, "3.6.14": FLAG, "3.7.1": FLAG}
# etcd compares the data of the leader with that of each follower, so both cases differ.
CASES = {
    f"{version} {role}": (version, role)
    for roles in (("follower", "leader"), ("leader", "follower"))
    for version, role in zip(FLAGS, roles * 2, strict=True)
}


def settings(version: str, more: str = "") -> str:
    return f"etcd: {{extra: {{{FLAGS[version]}: {CHECK_S}s{more}}}}}\n"


@pytest.fixture(params=one_in_turn(*CASES))
def corrupt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Etcdup, str, str]]:
    """Yield a demo, its version, and the member with another value, after etcd has raised the alarm."""
    version, role = CASES[str(request.param)]
    with running_demo(tmp_path, version, edit=lambda text: settings(version) + without_etcd(text)) as up:
        call(up, "infra1", lambda client: client.put(b"/key", RIGHT, timeout_s=S))
        members = json.loads(up("status", "--json").stdout)["members"]
        wrong = next(member["name"] for member in members if member["role"] == role)
        spoil_running(up, wrong)
        wait_until(lambda: "CORRUPT" in up("status").stdout, "etcd raised no alarm")
        yield up, version, wrong


def codes(etcdup: Etcdup) -> dict[str, str]:
    """Return the findings of `check`, with what fixes each."""
    found = json.loads(etcdup("check", "--json").stdout)["findings"]
    return {finding["code"]: finding["fix"] for finding in found}


@pytest.mark.in_turn(1, 2)
def test_an_alarm_of_etcd_is_reported_and_the_member_repaired(corrupt: tuple[Etcdup, str, str]) -> None:
    up, version, wrong = corrupt
    status = json.loads(up("status", "--json").stdout)
    assert [limit["kind"] for limit in status["limits"]] == ["CORRUPT"]
    assert "alarm-raised" in {cause["code"] for cause in status["causes"]}
    assert up("health").returncode == 1
    found = codes(up)
    assert "alarm-raised" in found
    assert wrong in found["data-differs"]
    assert (outcome(up), up("plan").returncode) == ("different", 0)
    for refused in (("apply", "--yes"), ("restart", "--yes"), ("maintain", "defrag", "--all", "--yes")):
        done = up(*refused)
        assert done.returncode in (1, 4), done.stderr
        assert CORRUPT_HINT in done.stderr

    # A setting of all members waits: the repair changes no other member while etcd refuses writes.
    file = demo_folder(up) / "cluster.yaml"
    file.write_text(settings(version, ", max-txn-ops: 256") + without_etcd(file.read_text()))
    before = ids(up)
    other = next(name for name in before if name != wrong)
    assert up("maintain", "repair", other, "--yes").returncode == 4
    done = up("maintain", "repair", wrong, "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {host for step in report["done"] for host in step["hosts"]} == {wrong}
    assert "differs" in report["repair"]["fault"]
    after = ids(up)
    assert {name for name in before if before[name] != after[name]} == {wrong}
    assert outcome(up) == "same"

    done = up("apply", "--yes")
    assert done.returncode == 0, done.stderr
    time.sleep(2 * CHECK_S)  # etcd compares the data again.
    assert "CORRUPT" not in up("status").stdout
    assert up("health").returncode == 0
