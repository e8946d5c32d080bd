"""Add the steps that obtain binaries on the operator's machine, before hosts install them."""

from collections.abc import Iterable, Sequence

from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import InstallBinaries, ObtainBinaries
from etcdup.core.plan.step import Step


def with_obtain_steps(steps: Sequence[Step], observed: Observed) -> list[Step]:
    """Return the steps, with one ObtainBinaries step for each version, before the first host that installs it."""
    complete: list[Step] = []
    obtained: set[str] = set()
    for step in steps:
        if isinstance(step, InstallBinaries) and step.version not in obtained:
            obtained.add(step.version)
            complete += _obtain_steps(step.version, steps, observed)
        complete.append(step)
    return complete


def _obtain_steps(version: str, steps: Iterable[Step], observed: Observed) -> list[Step]:
    binaries = next((each for each in observed.binaries if str(each.version) == version), None)
    if binaries is None or (binaries.source == "package" and not binaries.sha256):
        return []
    hosts = [step.host for step in steps if isinstance(step, InstallBinaries) and step.version == version]
    return [
        ObtainBinaries(
            version=version,
            source=binaries.source,
            origin=binaries.origin,
            arches=tuple(sorted({observed.reachable()[name].arch for name in hosts})),
            reason=binaries.why,
            rules=(52, 98),
        )
    ]
