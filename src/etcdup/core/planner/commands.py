"""The commands of every step that runs on one host."""

from collections.abc import Iterator

from etcdup.core.adopt.marker import marker_commands
from etcdup.core.host.actions import HostAction
from etcdup.core.host.commands import host_commands
from etcdup.core.members.member_list import host_of
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import AdoptHost, ReleaseHost
from etcdup.core.plan.restore_steps import (
    CopyData,
    EnableFence,
    ForgetRestore,
    MarkUndo,
    OpenClients,
    PlaceData,
    SealRestore,
    StageRestore,
    UndoData,
)
from etcdup.core.plan.step import HostStep
from etcdup.core.restore.commands import restore_commands
from etcdup.core.spec.model import Spec

_RESTORE_STEPS = (
    StageRestore, CopyData, PlaceData, OpenClients, SealRestore, EnableFence, ForgetRestore, MarkUndo, UndoData,
)  # fmt: skip


def commands_of(step: HostStep, spec: Spec, observed: Observed, token: str) -> Iterator[HostAction]:
    """Yield the actions of a step on its host, which must be reachable in `observed`. `token` is the plan's token."""
    host = host_of(spec, observed, step.host)
    if isinstance(step, _RESTORE_STEPS):
        return restore_commands(step, spec, host, observed.reachable()[step.host], observed.pki)
    if isinstance(step, AdoptHost | ReleaseHost):
        return marker_commands(step, spec, host, observed, token)
    return host_commands(step, spec, host, observed, token)
