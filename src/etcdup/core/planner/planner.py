"""plan(spec, observed) -> Plan or Refusal: the whole decision, in a fixed order.

It must answer for every Observed (tests/core/planner/test_planner.py), and what it answers is checked again by
the same guards on a fresh observation before each step is done (ops/apply/apply.py).
"""

from dataclasses import replace

from etcdup.core.certs.ca_rotation import runs_with_other_ca
from etcdup.core.host.drift import host_steps
from etcdup.core.host.files import CaContent, CertContent, desired_files
from etcdup.core.members.bootstrap import cluster_phase, refuse_form, refuse_prepare
from etcdup.core.members.quorum import describe_quorum, healthy
from etcdup.core.members.superseded import (
    clear_superseded_steps,
    refuse_two_clusters,
    superseded_hosts,
    without_superseded,
)
from etcdup.core.observed.model import HostSeen, Observed, PkiSeen
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import FormCluster
from etcdup.core.planner.notes import notes
from etcdup.core.planner.reconcile import (
    certificate_steps,
    pki_without_due,
    plan_reconcile,
    seal_step,
    with_obtain_steps,
)
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.versions.advisories import blocking_advisories, newest_patch


def plan(spec: Spec, observed: Observed, fresh_token: str) -> Plan | Refusal:
    """What makes the hosts what the Spec says. `fresh_token` names a cluster that is formed by this plan."""
    if under_way := refuse_unfinished_restore(spec, observed):
        return Refusal(spec.name, under_way)
    if old := superseded_hosts(spec, observed):
        return _plan_clearing_first(spec, old, observed, fresh_token)
    if split := refuse_two_clusters(spec, observed):
        return Refusal(spec.name, split)
    phase = cluster_phase(spec, observed, fresh_token)
    reasons = _refuse_any_plan(spec, observed)
    reasons += refuse_form(spec, observed) if phase.name != "formed" else ()
    if reasons:
        return Refusal(spec.name, tuple(dict.fromkeys(reasons)))
    if phase.name == "formed":
        return plan_reconcile(spec, observed, phase.token)
    issuing = certificate_steps(spec, observed)
    observed = replace(observed, pki=pki_without_due(observed.pki, issuing))
    steps = [
        *issuing,
        *_all_host_steps(spec, observed, phase.token),
        *_form_steps(spec, observed, phase.token),
        seal_step(_names(spec)),
    ]
    return Plan(spec.name, tuple(steps), notes(spec, observed), phase.token)


def _plan_clearing_first(spec: Spec, old: tuple[str, ...], observed: Observed, fresh_token: str) -> Plan:
    """Whatever stands against the rest: hosts of the past are stopped at once."""
    clearing = clear_superseded_steps(old, observed)
    after = plan(spec, without_superseded(old, observed), fresh_token)
    if isinstance(after, Refusal):
        later = tuple(f"once {', '.join(old)} is cleared: {reason.message}" for reason in after.reasons)
        return Plan(spec.name, clearing, (*after.notes, *later), fresh_token)
    return replace(after, steps=(*clearing, *after.steps))


def refuse_unfinished_restore(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Members of the old and of the new cluster may both be there: only the restore itself knows the order."""
    names = [
        name
        for name, seen in observed.reachable().items()
        if seen.marker is not None and seen.marker.cluster == spec.name and seen.marker.is_being_restored
    ]
    if not names:
        return ()
    return (
        Refused(
            f"a restore of cluster {spec.name} was begun and is not finished: {', '.join(names)}",
            hint="run `etcdup restore` with the same snapshot again: it goes on from where it was; `etcdup restore "
            "--undo` puts the old data back instead",
            rules=(57,),
        ),
    )


def _refuse_any_plan(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """What stands against any plan: a version that loses data, hosts that trust another CA, foreign data."""
    reasons = []
    for binaries in observed.binaries:
        reasons += refuse_version(spec.at(binaries.version), vouched=binaries.is_vouched)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += [*refuse_prepare(spec, host, seen), *refuse_other_ca(spec, seen, observed)]
            reasons += refuse_ca_swap(spec, seen, observed.pki)
    return tuple(reasons)


def refuse_version(spec: Spec, *, vouched: bool) -> list[Refused]:
    """A version that loses data, unless the operator or a distribution stands for its binaries."""
    return [
        Refused(
            f"etcd {spec.version} must not be used: {advisory.problem} ({advisory.source})",
            hint=f"set `version` to {newest_patch(spec.version)}",
        )
        for advisory in blocking_advisories(spec.version, members=spec.size, vouched=vouched)
    ]


def refuse_other_ca(spec: Spec, seen: HostSeen, observed: Observed) -> list[Refused]:
    """A host that trusts a CA which this `pki` never had means that `pki` is the wrong folder."""
    host = spec.host(seen.host)
    there = seen.files.get(layout_of(spec, host).ca())
    ours = observed.pki.trust.get("ca")
    if spec.tls.mode != "managed" or there is None or seen.marker is None:
        return []
    if there.sha256 == ours or there.sha256 in observed.pki.past:
        return []
    return [
        Refused(
            f"{seen.host} trusts a CA that is not the one in {spec.tls.dir}",
            hint=f"bring back the folder {spec.tls.dir} that this cluster was made with; "
            "a second CA would cut the members off from each other",
            host=seen.host,
            rules=(15, 20),
        )
    ]


def refuse_ca_swap(spec: Spec, seen: HostSeen, pki: PkiSeen) -> list[Refused]:
    """Provided files: a member that does not trust the new CA file yet gets no new leaf, and no other member is to show
    it one. Whether the old CA file would do for the new leaf cannot be told: of it only its digest is known."""
    if spec.tls.mode != "provided" or seen.marker is None or not seen.marker.formed:
        return []
    wanted = {
        file.path: file.sha256
        for file in desired_files(spec, spec.host(seen.host), layout_of(spec, spec.host(seen.host)), "", pki)
        if isinstance(file.content, CertContent | CaContent)
    }
    other = [
        path for path, digest in wanted.items() if (there := seen.files.get(path)) and there.sha256 != digest
    ]
    layout = layout_of(spec, spec.host(seen.host))
    trusts = not {layout.ca(), layout.ca("peer")}.intersection(other) and not runs_with_other_ca(seen, pki)
    leaves = [path for path in other if path not in (layout.ca(), layout.ca("peer"))]
    if trusts or not leaves:
        return []
    return [
        Refused(
            f"{seen.host} would get another CA file and other certificates at once: members that have "
            "the one and not the other yet would be cut off from each other",
            hint="one after the other: put the old CA and the new one into the file of `tls.ca`, with the old "
            "certificates, and `etcdup apply`; then the new certificates, and apply; then the new CA alone, and apply",
            host=seen.host,
            rules=(15,),
        )
    ]


def _all_host_steps(spec: Spec, observed: Observed, token: str) -> list[Step]:
    steps: list[Step] = []
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            steps += host_steps(spec, host, seen, token, observed)
    return with_obtain_steps(steps, observed)


def _form_steps(spec: Spec, observed: Observed, token: str) -> list[Step]:
    """Nothing is left to form once every member answers, although no host is marked yet."""
    if len(healthy(observed)) == spec.size:
        return []
    begun = [name for name, seen in observed.reachable().items() if seen.has_member]
    reason = f"an earlier apply started {', '.join(begun)}" if begun else "no host holds data of this cluster"
    quorum = describe_quorum(spec.size, spec.size)
    return [
        FormCluster(hosts=_names(spec), token=token, reason=reason, rules=(1, 2, 3, 4, 11), quorum=quorum)
    ]


def _names(spec: Spec) -> tuple[str, ...]:
    return tuple(host.name for host in spec.hosts)
