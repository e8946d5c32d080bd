"""The screens of `restore-keys`: what would be overwritten, and what was not written. No value is shown."""

from collections import Counter

import pytest

from etcdup.cli.views.keys_view import comparison_json, conflict_lines, conflicts_json, render_comparison
from etcdup.cli.views.plan_view import render_plan
from etcdup.cli.views.text import Paint
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.restore_steps import RestoreKeys
from etcdup.core.restore.restore_keys import Conflict, KeyComparison, KeyWrite
from tests.cli.golden import assert_golden, assert_golden_json

pytestmark = pytest.mark.quick

TITLE = "backup prod-20261125T120000Z"
REVISION = 81234
APP = b"/registry/secrets/prod/"
WRITES = [
    KeyWrite(APP + b"app", (81100, 0), 1200, 90211, 1300, 0),
    KeyWrite(APP + b"lock", (81101, 0), 30, 90212, 20, 7),
    *(KeyWrite(APP + b"db-%02d" % number, (81000 + number, 0), 900) for number in range(25)),
]
CONFLICTS = [
    Conflict(APP + b"app", 90211, 90400),
    Conflict(APP + b"db-01", 0, 90401),
    Conflict(APP + b"lock", 90212, 0),
    Conflict(APP + b"large", 0, 0, "etcdserver: request is too large"),
    Conflict(APP + b"busy", 5, 5),
]


def comparison(*writes: KeyWrite, target: bytes = APP) -> KeyComparison:
    leased = Counter({"/registry/masterleases/": 3})
    return KeyComparison(APP, target, False, list(writes), unchanged=40, leased=leased, found=40, others=5)


def test_the_comparison_and_the_plan() -> None:
    step = RestoreKeys(
        source=TITLE, revision=REVISION, prefix=APP.decode(), to_prefix=APP.decode(), created=25, overwritten=2,
        bytes=comparison(*WRITES).bytes,
        reason=f"these keys have other values than at revision {REVISION} of {TITLE}",
    )  # fmt: skip
    plan = render_plan(Plan("prod", (step,)), Paint(False), 100)
    copied = render_comparison(comparison(*WRITES[2:], target=b"/before/"), TITLE, REVISION)
    assert_golden("restore-keys.txt", render_comparison(comparison(*WRITES), TITLE, REVISION) + plan + copied)
    assert_golden("restore-keys-conflicts.txt", conflict_lines(CONFLICTS))
    facts = {
        "keys": comparison_json(comparison(*WRITES), TITLE, REVISION),
        "written": 23,
        "not_written": conflicts_json(CONFLICTS),
    }
    assert_golden_json("restore-keys.json", facts)


def test_nothing_to_write() -> None:
    shown = render_comparison(comparison(), TITLE, REVISION)
    assert "0 keys" in shown
    assert not shown.endswith("\n\n")
