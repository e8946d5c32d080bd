"""Group the steps of a plan into phases."""

from collections.abc import Sequence
from itertools import groupby

from etcdup.core.plan.certificate_steps import IssueCertificates
from etcdup.core.plan.host_steps import ObtainBinaries
from etcdup.core.plan.step import HostStep, Step

# Steps that can be in one phase with others, unless they are disruptive.
QUIET = (HostStep, IssueCertificates, ObtainBinaries)


def phases(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Return the steps in phases. Consecutive steps without disruption share one phase and one observation.

    Each other step is a phase of its own.
    """
    found: list[tuple[Step, ...]] = []
    for is_quiet, run in groupby(steps, key=_is_quiet):
        steps_of_run = tuple(run)
        found += [steps_of_run] if is_quiet else [(step,) for step in steps_of_run]
    return found


def _is_quiet(step: Step) -> bool:
    return isinstance(step, QUIET) and not (step.disruptive or step.is_alone)
