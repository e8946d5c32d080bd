"""The connection of etcdup to one fake member: when a call reaches it, and when its answer does not arrive."""

import asyncio
from collections.abc import Callable
from typing import NoReturn, TypeVar

from etcdup.remote.etcd.errors import EtcdRpcError, EtcdTimeout, EtcdUnavailable, translate
from etcdup.testing.cluster import FakeRefusal
from etcdup.testing.machine import FakeMachine, FakeProcess, Killed
from etcdup.testing.process import (
    converge,
    end_defragmentation,
    leader_of,
)

# The timeout of etcd for a proposal. A shorter timeout of the caller counts first.
PROPOSAL_TIMEOUT_S = 7.0

# Changes that clients make, too. Tests make them without the lock.
OF_CLIENTS = ("put", "delete", "disarm")

Outcome = TypeVar("Outcome")


class FakeConnection:
    """A connection to the member that runs on a machine."""

    # Whether it reaches a member that only etcdup can reach (core/host/closed_member.py), and no other member.
    reaches_closed = False

    def __init__(self, machine: FakeMachine) -> None:
        self.name = machine.name
        self._machine = machine
        self._network = machine.network

    async def _require_process(
        self, timeout_s: float, *, learners: bool = False, anyone: bool = False
    ) -> FakeProcess:
        """Return the process of the member. `learners`: whether a learner serves this call too (rule 30).

        `anyone`: whether a client without a user is served too.
        """
        await asyncio.sleep(0)
        self._check_alive()
        converge(self._network)
        end_defragmentation(self._machine)
        process = self._machine.process
        if not self._machine.answers:  # No packet comes back from a host that is off or cut off.
            await self._time_out_of_etcdup(timeout_s)
        if process is None or process.is_closed != self.reaches_closed:
            raise EtcdUnavailable(self.name, "no program listens on the client port")
        if not process.ready:
            await self._time_out_of_etcdup(timeout_s)
        if process.member is not None and process.member.is_learner and not learners:
            raise self._as_rpc_error(FakeRefusal("rpc not supported for learner", "UNAVAILABLE"))
        if not anyone:
            self._require_access(process)
        return process

    async def _require_open_database(self, process: FakeProcess, timeout_s: float) -> None:
        """Wait for the end of a defragmentation, as each request does that reads or writes the database."""
        left_s = process.blocked_until - self._network.now()
        if left_s > 0:
            await self._network.sleep(min(left_s, timeout_s))
        if self._machine.process is not process:
            raise EtcdUnavailable(self.name, "the connection to the client port was closed")
        if left_s > timeout_s:
            raise EtcdTimeout(self.name, f"no answer within {timeout_s:g} s")
        end_defragmentation(self._machine)

    def _require_access(self, process: FakeProcess) -> None:
        if process.cluster.denied:
            raise self._as_rpc_error(FakeRefusal(process.cluster.denied, "PERMISSION_DENIED"))

    def _check_alive(self) -> None:
        if self._network.killed:
            raise Killed("etcdup is already killed")

    async def _require_quorum(self, timeout_s: float) -> None:
        if not leader_of(self._network, self._machine):
            await self._time_out(timeout_s)

    async def _time_out_of_etcdup(self, timeout_s: float) -> NoReturn:
        await self._network.sleep(timeout_s)
        raise EtcdTimeout(self.name, f"no answer within {timeout_s:g} s")

    async def _time_out(self, timeout_s: float) -> None:
        await self._network.sleep(min(timeout_s, PROPOSAL_TIMEOUT_S))
        raise self._as_rpc_error(FakeRefusal("request timed out", "UNAVAILABLE"))

    def _apply_change(self, change: Callable[[], Outcome]) -> Outcome:
        try:
            return change()
        except FakeRefusal as no:
            raise self._as_rpc_error(no) from None

    def _as_rpc_error(self, no: FakeRefusal) -> EtcdRpcError:
        return translate(self.name, no.code, no.text, PROPOSAL_TIMEOUT_S)

    def _record_change(self, call: str) -> None:
        """The change is made; whether its answer arrives is another matter."""
        if call not in OF_CLIENTS:
            self._network.require_confirmed_lock(call)
        converge(self._network)
        self._network.count(self.name, ("etcd", call))
        if call not in OF_CLIENTS:
            self._network.end_round_trip()
        if not self._machine.answers:
            raise EtcdUnavailable(self.name, "the connection to the client port was closed")
