"""A change of the minor version is killed, and then a member is lost. `member replace` is the way out.

Until the member is replaced, no other member can be restarted, so the change of the version cannot continue either way.
"""

from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.core.host.actions import RESTART_UNIT
from etcdup.errors import RefusedError
from tests.flows.random_sequences.verbs import Operator, replace_member
from tests.support.fake_world import bring_up, spec_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

LOW, HIGH = "3.5.33", "3.6.14"
# From which version to which, how many members run the new one, and the version in cluster.yaml after the loss.
CASES = {
    "an upgrade, one member is new, go back": (LOW, HIGH, 1, LOW),
    "an upgrade, one member is new, continue": (LOW, HIGH, 1, HIGH),
    "an upgrade, two members are new, go back": (LOW, HIGH, 2, LOW),
    "an upgrade, two members are new, continue": (LOW, HIGH, 2, HIGH),
    "a downgrade, one member is new": (HIGH, LOW, 1, LOW),
    "a downgrade, two members are new": (HIGH, LOW, 2, LOW),
    "an upgrade to 3.7": ("3.6.14", "3.7.1", 1, "3.6.14"),
}


async def half_changed(before: str, after: str, restarts: int, folder: Path) -> tuple[Start, str]:
    """Return a cluster whose change of version was killed after that many restarts, and a member to lose.

    Without that member, the others run both versions.
    """
    start = await prepare_start(spec_of(version=before), spec_of(version=after), folder)
    network = start.network
    whole, whole_folder = start.copy_to("whole")
    await bring_up(spec_of(version=after), whole, whole_folder)
    commands = [number for number, (_, argv) in enumerate(whole.commands, 1) if RESTART_UNIT in argv]
    await kill_after(commands[restarts - 1], network, bring_up(spec_of(version=after), network, start.folder))
    await network.sleep(60)
    common = before if restarts == 1 else after
    lost = [
        name
        for name, machine in network.machines.items()
        if machine.process and machine.process.exe == f"/opt/etcd/{common}/etcd"
    ]
    assert len(lost) == 2
    network.wipe(lost[0])
    network.commands.clear()
    return start, lost[0]


@pytest.mark.parametrize("case", CASES)
async def test_a_kill_after_any_command_is_finished_by_the_same_command_or_apply(
    tmp_path: Path, case: str
) -> None:
    before, after, restarts, version = CASES[case]
    spec = spec_of(version=version)
    start, lost = await half_changed(before, after, restarts, tmp_path)
    whole, folder = start.copy_to("replaced")
    await replace_member(lost)(Operator(spec, whole, folder, 1))
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, replace_member(lost)(Operator(spec, network, folder, 1)))
        with suppress(RefusedError):  # the new member is healthy, and the change of version is left
            await replace_member(lost)(Operator(spec, network, folder, 2))
        await apply_and_check(spec, network, folder)


@pytest.mark.parametrize(
    ("before", "after", "version"), [("3.6.14", "3.5.33", "3.6.14"), ("3.6.14", "3.7.1", "3.7.1")]
)
async def test_a_higher_minor_that_would_panic_is_refused(
    texts: Texts, tmp_path: Path, before: str, after: str, version: str
) -> None:
    start, lost = await half_changed(before, after, 1, tmp_path)
    operator = Operator(spec_of(version=version), start.network, start.folder, 1)
    with pytest.raises(RefusedError) as refused:
        await replace_member(lost)(operator)
    texts(refused.value)
    assert start.network.commands == []
