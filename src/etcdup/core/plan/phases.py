"""Runs of steps that are done together on all their hosts."""

from collections.abc import Sequence
from itertools import groupby

from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.steps import IssueCertificates, ObtainBinaries

QUIET = (HostStep, IssueCertificates, ObtainBinaries)


def phases(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Runs of steps that disturb nobody and may share one look at the world. Every other step stands alone."""
    together: list[tuple[Step, ...]] = []
    for quiet, run in groupby(steps, key=lambda step: isinstance(step, QUIET) and not step.disruptive):
        same = tuple(run)
        together += [same] if quiet else [(step,) for step in same]
    return together
