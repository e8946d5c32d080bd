"""Waits for actions of etcd that take time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from etcdup.core.observed.member import MemberSeen
from etcdup.remote.etcd.errors import EtcdRefused, EtcdRpcError
from etcdup.remote.etcd.grpc_client import EtcdClient

Answer = TypeVar("Answer")


async def retry_while_refused(
    call: Callable[[], Awaitable[Answer]], *, while_told: str, timeout_s: float = 30.0
) -> Answer:
    """Repeat a call while etcd refuses it with the text `while_told`, and return its result. Raise other errors."""
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
    """Return the first status for which the condition is true. Until then, errors of the member are ignored."""
    async with asyncio.timeout(timeout_s):
        while True:
            with contextlib.suppress(EtcdRpcError):
                if condition(seen := await client.status(timeout_s=1)):
                    return seen
            await asyncio.sleep(0.02)
