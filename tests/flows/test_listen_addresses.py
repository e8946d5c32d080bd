"""An edit of `listen_address` to all addresses of each host, and back."""

from pathlib import Path

import pytest

from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from tests.support.fake_world import spec_of
from tests.support.kill_everywhere import apply_and_check, kill_everywhere, prepare_start


def open_to_all(listen: str) -> Spec:
    """Return the spec of three hosts on which etcd listens on all addresses."""
    hosts = "".join(
        f"  - {{name: infra{n}, address: 192.168.8.{65 + n}, listen_address: '{listen}'}}\n"
        for n in (1, 2, 3)
    )
    return load(f"name: prod\nversion: 3.6.14\nhosts:\n{hosts}")


@pytest.mark.parametrize(
    ("listen", "urls"),
    [
        ("::", {"https://[::]:2379", "https://[::]:2380"}),
        ("0.0.0.0", {"https://0.0.0.0:2379", "https://0.0.0.0:2380"}),
    ],
)
async def test_members_listen_on_all_addresses_and_on_one_again(
    listen: str, urls: set[str], tmp_path: Path
) -> None:
    """The loopback address is not listed in addition: etcd could not bind it a second time."""
    start = await prepare_start(spec_of(3), open_to_all(listen), tmp_path)
    await apply_and_check(open_to_all(listen), start.network, start.folder)
    for machine in start.network.machines.values():
        assert machine.process is not None
        settings = machine.process.environment
        assert {settings["ETCD_LISTEN_CLIENT_URLS"], settings["ETCD_LISTEN_PEER_URLS"]} == urls
        assert settings["ETCD_LISTEN_METRICS_URLS"] == "http://127.0.0.1:2381"
    await apply_and_check(spec_of(3), start.network, start.folder)


async def test_after_a_kill_at_any_command_the_next_apply_finishes(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(3), open_to_all("::"), tmp_path)
    await kill_everywhere(start, open_to_all("::"))
