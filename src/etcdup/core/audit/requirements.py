"""Findings about what a host of the cluster must have or allow, and has not (core/host/requirements.py)."""

from collections.abc import Iterator

from etcdup.core.audit.findings import Finding, as_sentence
from etcdup.core.host.files import desired_settings
from etcdup.core.host.outside_settings import outside_notes
from etcdup.core.host.programs import other_missing_programs
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec


def outside_findings(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterator[Finding]:
    """Report drop-ins of etcd.service, and variables that etcd did not get from etcd.conf."""
    token = seen.marker.token if seen.marker else ""
    settings = desired_settings(spec, host, layout_of(spec, host), token, observed.pki)
    for note in outside_notes(seen, settings.variables()):
        yield Finding(
            "advice",
            host.name,
            as_sentence(note.removeprefix(f"{host.name}: ")),
            "etcdup does not write or change this. A start of etcd can differ from cluster.yaml.",
            "Remove it, and set the value in cluster.yaml: `etcd.extra` accepts each flag of etcd.",
            (51,),
            code="settings-from-outside",
        )


def program_findings(seen: HostSeen) -> Iterator[Finding]:
    """Report programs that a member does not need, and changes of the cluster do."""
    for refused in other_missing_programs((), seen):
        yield Finding(
            "advice",
            seen.host,
            as_sentence(refused.message, seen.host),
            "`etcdup plan` refuses the changes that need it.",
            as_sentence(refused.hint.partition(",")[0]),
            code="program-missing",
        )
