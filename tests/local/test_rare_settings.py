"""Members with settings that few clusters have start with the files of etcdup, and answer where etcdup connects."""

import asyncio
import time
from pathlib import Path

import pytest

from etcdup.ops.world.metrics import reached_address
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Credentials, Etcd
from tests.support.etcd_binaries import why_not
from tests.support.etcd_certs import Authority
from tests.support.settings_member import (
    SettingsMember,
    running_with,
    settings_in,
    settings_spec,
    write_files,
)

S = 30.0
KEYS = {
    "all addresses": {"host": "listen_address: '::'"},
    "all IPv4 addresses": {"host": "listen_address: 0.0.0.0"},
    "one address": {},
    "another name in etcd": {"host": "member: 'Node 2 #北京;'"},
    "compaction by revision, and variables": {
        "etcd": "auto_compaction: {revisions: 10000}, environment: {GODEBUG: madvdontneed=1, GOMAXPROCS: 2}"
    },
}


@pytest.fixture(params=["3.4.23", "3.7.1"])
def version(request: pytest.FixtureRequest) -> str:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return str(request.param)


async def member_names(member: SettingsMember, credentials: Credentials) -> list[str]:
    """Return the names in the member list, as soon as the member has a leader."""
    spec, deadline = member.spec, time.monotonic() + S
    address = reached_address(spec.hosts[0].listen_address or spec.hosts[0].address)
    while member.process.poll() is None and time.monotonic() < deadline:
        client = Etcd("m1", f"{address}:{spec.etcd.client_port}", "127.0.0.1", credentials)
        try:
            if (seen := await client.status(timeout_s=2)).leader_id:
                return [each.name for each in seen.members]
        except EtcdRpcError:
            await asyncio.sleep(0.1)
        finally:
            await client.close()
    return []


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_it_starts_and_answers(version: str, keys: dict[str, str], tmp_path: Path) -> None:
    spec, authority = settings_spec(version, **keys), Authority()
    write_files(tmp_path, authority)
    root = authority.issue("root")
    credentials = Credentials(ca=authority.pem, cert=root.cert, key=root.key)
    with running_with(spec, settings_in(spec).variables(), tmp_path) as member:
        names = asyncio.run(member_names(member, credentials))
        assert names == [spec.hosts[0].member_name], member.log[-2000:]
        environment = Path(f"/proc/{member.process.pid}/environ").read_bytes()
        assert all(f"{name}={value}".encode() in environment for name, value in spec.etcd.environment.items())
