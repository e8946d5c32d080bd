"""Members with data directories of their own."""

from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.testing.network import FakeNetwork
from tests.flows.test_destroy import contents
from tests.flows.test_restore import restore, snapshot_in
from tests.support.fake_world import make_plan, running_network
from tests.support.kill_everywhere import apply_and_check, kill_everywhere, prepare_start

# The directories of each host: data, and log.
FOLDERS = {
    1: ("/data/infra1.etcd", ""),
    2: ("", "/log/infra2/wal"),
    3: ("/data/infra3.etcd", "/log/infra3/wal"),
    4: ("/data/infra4.etcd", ""),
}


def spread(*numbers: int, more: str = "", **changed: str) -> Spec:
    """Return the spec of these hosts. `infra2="data_dir: /x"` gives a host other directories."""
    hosts = ""
    for n in numbers:
        data, wal = FOLDERS[n]
        keys = [f"data_dir: {data}"] * bool(data) + [f"wal_dir: {wal}"] * bool(wal)
        own = changed.get(f"infra{n}", ", ".join(keys))
        hosts += f"  - {{name: infra{n}, address: 192.168.8.{65 + n}{own and ', ' + own}}}\n"
    return load(f"name: prod\nversion: 3.6.14\nhosts:\n{hosts}{more}")


def data_folders(network: FakeNetwork, name: str) -> set[str]:
    """Return the directories that the member on this machine uses."""
    process = network.machines[name].process
    assert process is not None
    used = (process.environment.get(key, "") for key in ("ETCD_DATA_DIR", "ETCD_WAL_DIR"))
    return set(filter(None, used))


async def test_each_member_uses_its_own_directories(tmp_path: Path) -> None:
    network = await running_network(spread(1, 2, 3), tmp_path)
    await apply_and_check(spread(1, 2, 3), network, tmp_path)
    assert data_folders(network, "infra1") == {"/data/infra1.etcd"}
    assert data_folders(network, "infra2") == {"/var/lib/etcd", "/log/infra2/wal"}
    assert data_folders(network, "infra3") == {"/data/infra3.etcd", "/log/infra3/wal"}


@pytest.mark.parametrize(("before", "after", "left"), [((1, 2, 3), (1, 2, 4), 3), ((1, 2, 4), (1, 3, 4), 2)])
async def test_the_data_of_a_member_that_leaves_is_archived(
    before: tuple[int, ...], after: tuple[int, ...], left: int, tmp_path: Path
) -> None:
    """cluster.yaml has no entry for its host any more, so the host itself says where its data is."""
    start = await prepare_start(spread(*before), spread(*after), tmp_path)
    await kill_everywhere(start, spread(*after))
    await apply_and_check(spread(*after), start.network, start.folder)
    machine = start.network.machines[f"infra{left}"]
    for folder in filter(None, (FOLDERS[left][0] or "/var/lib/etcd", FOLDERS[left][1])):
        assert not any(path.startswith(f"{folder}/") for path in machine.nodes)
        assert any(path.startswith(f"{folder}.aside-") for path in machine.nodes)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"infra1": "data_dir: /data/other"}, "`data_dir: /data/infra1.etcd` back for infra1"),
        ({"infra1": ""}, "`data_dir: /data/infra1.etcd` back"),
        ({"infra2": "data_dir: /data/x, wal_dir: /log/infra2/wal"}, "remove `data_dir` of infra2"),
        ({"infra2": "wal_dir: /log/x/wal"}, "`wal_dir: /log/infra2/wal` back for infra2"),
        ({"infra1": "data_dir: /data/infra1.etcd, wal_dir: /log/x/wal"}, "remove `wal_dir` of infra1"),
    ],
)
async def test_another_directory_is_refused_with_the_line_to_write(
    changed: dict[str, str], line: str, tmp_path: Path
) -> None:
    network = await running_network(spread(1, 2, 3), tmp_path)
    answer = await make_plan(spread(1, 2, 3, **changed), network, tmp_path)
    assert isinstance(answer, Refusal)
    assert line in " ".join(reason.hint for reason in answer.reasons)
    assert network.commands == []


async def test_the_same_directory_may_move_from_one_key_to_the_other(tmp_path: Path) -> None:
    """The directory decides, not the key. So no member restarts."""
    network = await running_network(spread(1, 4, 2), tmp_path)
    same = spread(1, 4, 2, more="etcd: {data_dir: /data/infra1.etcd}\n", infra1="",
                  infra2="data_dir: /var/lib/etcd, wal_dir: /log/infra2/wal")  # fmt: skip
    answer = await make_plan(same, network, tmp_path)
    assert isinstance(answer, Plan)
    assert answer.is_empty


async def test_a_restore_uses_the_directories_of_each_host(tmp_path: Path) -> None:
    network = await running_network(spread(1, 2, 3), tmp_path)
    before = contents(network)
    await restore(spread(1, 2, 3), network, tmp_path, snapshot_in(tmp_path))
    await apply_and_check(spread(1, 2, 3), network, tmp_path)
    assert contents(network) != before
    assert data_folders(network, "infra3") == {"/data/infra3.etcd", "/log/infra3/wal"}
