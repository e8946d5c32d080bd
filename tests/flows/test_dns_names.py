"""A cluster that was formed with IP addresses gets DNS names by an edit, and the reverse."""

from pathlib import Path

import pytest

from etcdup.core.plan.plan import Refusal
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from tests.support.fake_world import make_plan, spec_of
from tests.support.kill_everywhere import apply_and_check, kill_everywhere, prepare_start
from tests.support.texts import Texts


def named(size: int) -> Spec:
    """Return the spec of the same hosts with DNS names."""
    hosts = "".join(
        f"  - {{name: infra{n}, address: infra{n}.example.com, listen_address: 192.168.8.{65 + n}}}\n"
        for n in range(1, size + 1)
    )
    return load(f"name: prod\nversion: 3.6.14\nhosts:\n{hosts}")


@pytest.mark.parametrize("size", [1, 3])
async def test_addresses_become_names_and_names_become_addresses(tmp_path: Path, size: int) -> None:
    start = await prepare_start(spec_of(size), named(size), tmp_path)
    await apply_and_check(named(size), start.network, start.folder)
    await apply_and_check(spec_of(size), start.network, start.folder)


async def test_after_a_kill_at_any_command_the_next_apply_finishes(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(3), named(3), tmp_path)
    await kill_everywhere(start, named(3))


async def test_a_name_that_a_host_cannot_resolve_is_refused(texts: Texts, tmp_path: Path) -> None:
    start = await prepare_start(spec_of(3), named(3), tmp_path)
    machine = start.network.machines["infra3"]
    machine.blocked, machine.blocked_why = {"infra1.example.com"}, "Name or service not known"
    start.network.commands.clear()
    refusal = await make_plan(named(3), start.network, start.folder)
    assert isinstance(refusal, Refusal)
    assert {reason.host for reason in refusal.reasons} == {"infra1"}
    texts(refusal.reasons[0])
    assert start.network.commands == []
