"""`maintain space` and `backup log`: text and JSON, from a database in memory."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from etcdup.cli.views.change_log_view import change_json, change_line, times_line
from etcdup.cli.views.space_view import SpaceReport, render_space, space_json
from etcdup.cli.views.text import Paint
from etcdup.core.backups.backups import CANARY, backup_name
from etcdup.core.backups.change_log import changes, read_times
from etcdup.core.maintain.growth import Growth
from etcdup.core.maintain.space import measure_space
from etcdup.core.members.space import NO_LIMIT
from tests.cli.golden import assert_golden, assert_golden_json
from tests.support.bolt_files import History, opened
from tests.support.texts import Texts

pytestmark = pytest.mark.quick

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def kubernetes_history() -> History:
    history = History(leases={7, 8})
    for number in range(40):
        namespace = b"default" if number % 4 else b"kube-system"
        history.put(b"/registry/pods/%s/pod-%d" % (namespace, number), bytes(900 + number))
        history.put(b"/registry/events/%s/event-%d" % (namespace, number), bytes(300), lease=7)
        history.put(b"/registry/leases/kube-node-lease/node-1", bytes(120))
    history.put(b"/registry/cert-manager.io/certificates/default/web", bytes(500))
    history.put(b"/service/pg/leader", b"pg1", lease=8)
    history.delete(b"/registry/pods/default/pod-1")
    history.put(b"lock", bytes(20_000))
    return history


def report(growth: Growth | None, quota: int = 2 << 20) -> SpaceReport:
    content = kubernetes_history().database()
    space = measure_space(opened(content), len(content))
    return SpaceReport("backup prod-20261122T120000Z", NOON, "", space, quota, growth)


def test_the_space_of_a_kubernetes_cluster() -> None:
    growth = Growth(NOON - timedelta(days=7), 40_000.0, 36.04)
    assert_golden("space.txt", render_space(report(growth), Paint(False)))
    assert_golden_json("space.json", space_json(report(growth)))


@pytest.mark.parametrize(
    "growth", [Growth(NOON, -1.0, None), Growth(NOON, 1.0, 9e9), Growth(NOON, 1.0, 1.99), None]
)
def test_the_growth(texts: Texts, growth: Growth | None) -> None:
    texts(render_space(report(growth, NO_LIMIT), Paint(False)).partition("\n\n")[0])
    assert space_json(report(growth, NO_LIMIT))["quota"] is None


def test_an_unknown_growth_says_what_is_missing(texts: Texts) -> None:
    for more in ((), (NO_LIMIT,)):
        texts(render_space(report(None, *more), Paint(False)).partition("\n\n")[0])


def test_an_empty_database_and_hostile_keys_have_a_text() -> None:
    history = History()
    for keys in ((), (b"\xff\x1b[31m/\n/x", b"a" * 5000)):
        for key in keys:
            history.put(key, b"1")
        content = history.database()
        shown = SpaceReport("x", None, "", measure_space(opened(content), len(content)), 1, None)
        assert render_space(shown, Paint(False)).endswith("\n")
        json.dumps(space_json(shown))


def test_the_changes_of_keys() -> None:
    history = History()
    history.put(b"/config", b"1")
    history.put(CANARY, backup_name("prod", NOON).encode())
    history.put(b"/config", b"12", lease=0xABC)
    history.delete(b"/config")
    history.put(CANARY, backup_name("prod", NOON + timedelta(hours=1)).encode())
    history.put(b"/config", b"3")
    bolt = opened(history.database())
    times = read_times(bolt)
    found = list(changes(bolt, prefix=b"/config"))
    lines = (times_line(times.around(each.revision)) + change_line(each) for each in found)
    assert_golden("backup-log.txt", "".join(lines))
    assert_golden_json("backup-log.json", change_json(found[1], times.around(found[1].revision)))
    assert times_line((None, None)) == "the times are not known\n"
