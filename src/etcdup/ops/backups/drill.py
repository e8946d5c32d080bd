"""The drill: restore a backup into a temporary member on this machine, and compare its data with the manifest.

A backup is proved by a drill. The member has mutual TLS with its own keys and uses loopback only. It is stopped
afterwards, and all its files are deleted.
"""

import asyncio
import secrets
import shutil
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.backups.backups import CANARY, PROOF, Manifest, Proof, proof_text
from etcdup.errors import EtcdupError
from etcdup.ops.backups.backups import Report
from etcdup.ops.backups.destinations import Warn, fetch_whole
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.backups.store import Store
from etcdup.ops.backups.temporary_etcd import LOOPBACK, etcd_flags, make_credentials, write_keys
from etcdup.ops.backups.trust import PROOF_KIND, Trust
from etcdup.remote.environment import child_environment
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Etcd

_RESTORE_S = 3600.0
_START_S = 120.0
_ASK_S = 60.0
_POLL_S = 0.1


class NotProved(EtcdupError):
    """The backup could not be restored, or the restored data differs from the manifest."""


async def drill(
    stores: Sequence[Store],
    cluster: str,
    name: str,
    tools: Path,
    trust: Trust,
    *,
    report: Report,
    warn: Warn = lambda _: None,
    identity: Identity | None = None,
) -> Proof:
    """Restore the first complete copy with the programs in `tools`, compare it, and write the proof next to it.

    Raises NotProved.
    """
    with scratch_folder("drill") as folder:
        at, began = datetime.now(UTC), time.monotonic()
        fetched = await fetch_whole(stores, name, folder, trust, report=report, warn=warn, identity=identity)
        path, manifest, store = fetched.path, fetched.manifest, fetched.store
        report(f"restoring {name}")
        ports = _free_ports()
        await _restore(tools, path, folder / "data", ports[1])
        async with _temporary_member(tools, folder, ports, cluster) as client:
            revision = await _wait_until_serving(client, name)
            rto_s = time.monotonic() - began
            report(f"comparing {name}")
            await _compare(client, manifest, revision)
    proof = Proof(
        name=name, at=at, version=manifest.version, revision=manifest.revision, keys=manifest.keys,
        kv_hash=manifest.kv_hash, rto_s=round(rto_s, 3),
        rpo_s=round((at - manifest.taken_at).total_seconds(), 3),
    )  # fmt: skip
    await store.put_text(name + PROOF, trust.sign(PROOF_KIND, proof_text(proof)))
    return proof


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind((LOOPBACK, 0))
        second.bind((LOOPBACK, 0))
        return first.getsockname()[1], second.getsockname()[1]


async def _restore(tools: Path, path: Path, data: Path, peer_port: int) -> None:
    """Restore with etcdutl, or with etcdctl before 3.5 (rule 59). It also verifies etcd's checksum (rule 54)."""
    tool = next(each for each in (tools / "etcdutl", tools / "etcdctl") if each.exists())
    url = f"https://{LOOPBACK}:{peer_port}"
    process = await asyncio.create_subprocess_exec(
        *_kill_with_parent(), tool, "snapshot", "restore", path, "--data-dir", data, "--name", "drill",
        "--initial-cluster", f"drill={url}", "--initial-advertise-peer-urls", url,
        "--initial-cluster-token", secrets.token_hex(8),
        env=child_environment() | {"ETCDCTL_API": "3"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_RESTORE_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = output.decode(errors="replace").strip()
        raise NotProved(f"{tool.name} cannot restore {path.stem}", detail=text[-2000:], hint=_HINT)


_HINT = "do not rely on this backup: take a new one with `etcdup backup now`, then verify the new one"


@asynccontextmanager
async def _temporary_member(
    tools: Path, folder: Path, ports: tuple[int, int], cluster: str
) -> AsyncIterator[EtcdClient]:
    credentials = make_credentials(cluster)
    write_keys(folder, credentials)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_kill_with_parent(), tools / "etcd", *etcd_flags("drill", folder / "data", folder, ports),
            cwd=folder, env=child_environment(), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    client = Etcd("the restored member", f"{LOOPBACK}:{ports[0]}", LOOPBACK, credentials)
    try:
        yield client
    except NotProved as error:
        error.detail = error.detail or (folder / "log").read_text(errors="replace")[-2000:]
        raise
    finally:
        await client.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _wait_until_serving(client: EtcdClient, name: str) -> int:
    """Wait until the restored member has a leader, and return its revision. Raises NotProved."""
    ends = time.monotonic() + _START_S
    while True:
        try:
            if (await client.status(timeout_s=5.0)).leader_id:
                return (await client.read_keyspace_size(timeout_s=_ASK_S)).revision
        except EtcdRpcError as error:
            why = error.message
        else:
            why = "it has no leader"
        if time.monotonic() > ends:
            raise NotProved(f"{name} was restored, but the member does not serve it: {why}", hint=_HINT)
        await asyncio.sleep(_POLL_S)


async def _compare(client: EtcdClient, manifest: Manifest, revision: int) -> None:
    """Compare the data with the manifest at its revision. Writes during the backup have later revisions."""
    if revision < manifest.revision:
        raise _mismatch(manifest, "revision", revision, manifest.revision)
    extent = await client.read_keyspace_size(manifest.revision, timeout_s=_ASK_S)
    if extent.keys != manifest.keys:
        raise _mismatch(manifest, "number of keys", extent.keys, manifest.keys)
    canary = await client.get(CANARY, timeout_s=_ASK_S) or b""
    if canary.decode(errors="replace") < manifest.canary:
        raise _mismatch(manifest, "canary", repr(canary), repr(manifest.canary))
    hashed = await client.hash_kv(manifest.revision, timeout_s=_ASK_S)
    if hashed.compact_revision != manifest.compact_revision:  # The hashes are not comparable (rule 81).
        raise NotProved(
            f"the hash of {manifest.name} cannot be compared: the cluster was compacted during the backup",
            hint="take another backup with `etcdup backup now`; this one is possibly intact",
        )
    if hashed.hash != manifest.kv_hash:
        raise _mismatch(manifest, "hash", hashed.hash, manifest.kv_hash)


def _mismatch(manifest: Manifest, what: str, got: object, noted: object) -> NotProved:
    message = f"the restored data of {manifest.name} has another {what}: {got}, the manifest has {noted}"
    return NotProved(message, hint=_HINT)


def _kill_with_parent() -> tuple[str, ...]:
    return ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
