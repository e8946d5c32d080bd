"""The startup fence: its key and value, and its command in the files of a member."""

from datetime import UTC, datetime

from etcdup.core.host.settings import changed_variables, settings_of
from etcdup.core.host.startup_fence import MEMBERS_VARIABLE, fence_command, superseded_key, superseded_value
from etcdup.core.host.unit import unit_text
from etcdup.core.spec.layout import layout_of
from tests.support.fake_world import spec_of


def test_the_key_and_the_value() -> None:
    at = datetime(2026, 11, 25, 18, 3, 59, tzinfo=UTC)
    assert superseded_key("prod-0") == b"etcdup/superseded/prod-0"
    assert (
        superseded_value(("infra1",), "prod-1", at)
        == b"it continues as prod-1 on infra1 since 2026-11-25T18:03Z"
    )


def test_a_change_of_the_other_members_needs_no_restart() -> None:
    few, many = (
        settings_of(
            spec, spec.hosts[0], layout_of(spec, spec.hosts[0]), "t", peer_common_name=None, trust=""
        ).variables()
        for spec in (spec_of(1), spec_of(3))
    )
    assert many[MEMBERS_VARIABLE].split() == [f"https://192.168.8.{n}:2379" for n in (66, 67, 68)]
    assert changed_variables(many, few) == ()


def test_the_unit_has_the_command_in_one_argument() -> None:
    spec = spec_of(3)
    layout = layout_of(spec, spec.hosts[0])
    command = fence_command(layout)
    assert "'" not in command
    assert "%" not in command
    assert all(line.endswith("\\") for line in command.splitlines()[:-1])
    text = unit_text("prod", "infra1", layout)
    assert command.replace("$", "$$") in text
    assert text.count("ExecStartPre=") == 1, "systemd creates a sandbox for each ExecStartPre"
