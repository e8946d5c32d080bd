"""The fence's words, and what of it is in a member's files."""

from datetime import UTC, datetime

from etcdup.core.host.settings import changed_variables, settings_of
from etcdup.core.host.startup_fence import MEMBERS_VARIABLE, fence_command, superseded_key, superseded_value
from etcdup.core.host.unit import unit_text
from etcdup.core.spec.layout import layout_of
from tests.support.fake_world import spec_of


def test_its_words() -> None:
    at = datetime(2026, 11, 25, 18, 3, 59, tzinfo=UTC)
    assert superseded_key("prod-0") == b"etcdup/superseded/prod-0"
    assert (
        superseded_value(("infra1",), "prod-1", at)
        == b"it went on from infra1 as prod-1 on 2026-11-25 18:03 UTC"
    )


def test_other_members_are_no_reason_for_a_restart() -> None:
    few, many = (
        settings_of(
            spec, spec.hosts[0], layout_of(spec, spec.hosts[0]), "t", peer_common_name=None, trust=""
        ).variables()
        for spec in (spec_of(1), spec_of(3))
    )
    assert many[MEMBERS_VARIABLE].split() == [f"https://192.168.8.{n}:2379" for n in (66, 67, 68)]
    assert changed_variables(many, few) == ()


def test_a_unit_has_it_in_one_argument() -> None:
    spec = spec_of(3)
    layout = layout_of(spec, spec.hosts[0])
    asking = fence_command(layout)
    assert "'" not in asking
    assert "%" not in asking
    assert all(line.endswith("\\") for line in asking.splitlines()[:-1])
    text = unit_text("prod", "infra1", layout)
    assert asking.replace("$", "$$") in text
    assert text.count("ExecStartPre=") == 1, "each is a sandbox of its own to be made"
