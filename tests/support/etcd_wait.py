"""Waiting for what etcd does in its own time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from etcdup.core.observed.model import MemberSeen
from etcdup.remote.etcd.errors import EtcdRefused, EtcdRpcError
from etcdup.remote.etcd.grpc_client import EtcdClient

Answer = TypeVar("Answer")


async def retry_while_refused(
    call: Callable[[], Awaitable[Answer]], *, while_told: str, timeout_s: float = 30.0
) -> Answer:
    """The answer to a call that etcd refuses with these words for a while. Any other refusal is raised."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await call()
            except EtcdRefused as refused:
                if while_told not in refused.message:
                    raise
            await asyncio.sleep(0.1)


async def wait_for_status(
    client: EtcdClient, condition: Callable[[MemberSeen], bool], *, timeout_s: float = 30.0
) -> MemberSeen:
    """The first status of which this is true; until then the member may as well not answer."""
    async with asyncio.timeout(timeout_s):
        while True:
            with contextlib.suppress(EtcdRpcError):
                if condition(seen := await client.status(timeout_s=1)):
                    return seen
            await asyncio.sleep(0.02)
