"""A cluster that is not formed yet, or that has lost its hosts. Nothing but an apply or a restore helps."""

from collections.abc import Iterator

from etcdup.core.members.bootstrap import ClusterPhase, cluster_phase
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.cause import Cause, named


def refuse_not_formed(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse what needs a member while no host has one. Otherwise each verb would name what it misses first."""
    phase = cluster_phase(spec, observed, "")
    reached = observed.reachable()
    if phase.name == "formed" or observed.answering() or not all(host.name in reached for host in spec.hosts):
        return ()
    # Data without a marker is another fault, which each verb names.
    if phase.name == "fresh" and any(seen.has_member for seen in reached.values()):
        return ()
    return tuple(
        Refused(each.what, each.hint, rules=each.rules) for each in formation_causes(spec, observed, phase)
    )


def formation_causes(spec: Spec, observed: Observed, phase: ClusterPhase) -> Iterator[Cause]:
    """Yield the cause of a cluster that does not exist yet, or that has lost its hosts."""
    names = tuple(host.name for host in spec.hosts)
    what = "the cluster is not formed yet: no host has a member of it"
    hint = "run `etcdup apply`, which forms it"
    if phase.name == "forming":
        what = "an earlier `etcdup apply` did not finish: the cluster is not formed yet"
        hint = "run `etcdup apply`, which resumes"
    elif spec.tls.mode == "managed" and (
        certified := [name for name in names if f"server/{name}" in observed.pki.certs]
    ):
        yield Cause(
            what,
            "if this cluster had data, run `etcdup restore latest`, which needs a backup. Only for a new cluster, run "
            "`etcdup apply`, which forms it without data",
            names,
            (
                f"{spec.tls.dir} has certificates of {named(certified)}, so the cluster may have existed before",
            ),
            level="unfinished",
            rules=(6,),
            code="cluster-not-formed",
        )
        return
    yield Cause(what, hint, names, level="unfinished", rules=(6,), by_apply=True, code="cluster-not-formed")
