"""`logs` on fake machines: all hosts that answer, and only new lines after the first reading."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from etcdup.core.observed.journal_lines import LogLine, LogPart
from etcdup.ops.world.member_logs import LogReader, lines_since
from tests.support.fake_world import running_network, spec_of, world_of

NAMES = ["infra1", "infra2", "infra3"]


async def test_only_new_lines_are_read_again(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    for name, machine in network.machines.items():
        machine.log[:] = [f"{name} starts"]
    reader = LogReader(world_of(spec_of(), network, tmp_path), NAMES, 100, None)
    first = await reader.read()
    assert sorted(line.text for lines in first for line in lines) == [f"{name} starts" for name in NAMES]
    network.machines["infra2"].log.append("infra2 is the leader")
    assert [line.text for lines in await reader.read() for line in lines] == ["infra2 is the leader"]
    assert await reader.read() == [(), (), ()]


async def test_a_host_that_is_not_reachable_does_not_hide_the_others(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    network.crash("infra3")
    reader = LogReader(world_of(spec_of(), network, tmp_path), NAMES, 100, None)
    assert len(await reader.read()) == 2
    assert list(reader.why) == ["infra3"]


async def test_a_log_without_lines_is_known(tmp_path: Path) -> None:
    """With `Storage=none` journald has no line of a running member. With `--since` that is usual."""
    network = await running_network(spec_of(), tmp_path)
    for name, machine in network.machines.items():
        machine.log[:] = [] if name == "infra2" else [f"{name} starts"]
    for since_s, empty in ((None, {"infra2"}), (60, set[str]())):
        reader = LogReader(world_of(spec_of(), network, tmp_path), NAMES, 100, since_s)
        await reader.read()
        assert reader.empty == empty
        await reader.read()
        assert reader.empty == empty


async def test_a_host_that_answers_later_gives_its_last_lines_only(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    late = network.machines["infra3"]
    late.log[:] = [str(number) for number in range(50)]
    reader = LogReader(world_of(spec_of(), network, tmp_path), NAMES, 10, None)
    late.reachable = False
    assert len(await reader.read()) == 2
    late.reachable = True
    assert [line.text for line in (await reader.read())[2]] == late.log[-10:]


def test_old_lines_of_a_file_are_left_out() -> None:
    now = datetime.now(UTC)
    old, new = (LogLine("infra1", now - timedelta(seconds=age), "") for age in (700, 500))
    untimed = LogLine("infra1", None, "")
    assert lines_since(LogPart((old, untimed, new)), 600) == LogPart((untimed, new))
