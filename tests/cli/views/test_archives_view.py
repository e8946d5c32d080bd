"""`archive list`: the table and the JSON document."""

import json
from datetime import UTC, datetime

from etcdup.cli.views.archives_view import archives_json, render_archives
from etcdup.core.host.archives import Archive
from tests.cli.golden import assert_golden

OLD = Archive(
    "infra2", "/var/lib/etcd.aside-20260120T080200Z", 2040109465, datetime(2026, 1, 20, 8, 2, tzinfo=UTC)
)
UNDO = Archive(
    "infra1", "/var/lib/etcd.aside-20260504T103112Z", 2254857830, datetime(2026, 5, 4, 10, 31, tzinfo=UTC)
)
COPY = Archive("infra1", "/var/lib/etcd.cold-prod-0123", 64 << 20, datetime(2026, 5, 4, 10, 30, tzinfo=UTC))


def test_archives_as_a_table() -> None:
    assert_golden("archive-list.txt", render_archives([COPY, UNDO, OLD], [UNDO]))
    assert render_archives([], []) == "there are no archives\n"


def test_archives_as_json() -> None:
    document = archives_json([UNDO, OLD], [UNDO], {"infra3": "no answer from 192.168.8.68 port 22"})
    assert_golden("archive-list.json", json.dumps(document, indent=2) + "\n")
