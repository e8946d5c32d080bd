"""plan(spec, observed) -> Plan or Refusal: the whole decision, in a fixed order.

It must answer for every Observed (tests/core/test_planner_total.py), and what it answers is checked again by
the same guards on a fresh observation before each step is done (ops/apply.py).
"""

from etcdup.core.advisories import newest_patch, refusals
from etcdup.core.bootstrap import may_form, may_prepare, phase_of
from etcdup.core.certs import due, wanted_certs
from etcdup.core.drift import host_steps, restart_reasons
from etcdup.core.guards import against_first
from etcdup.core.layout import layout_of
from etcdup.core.membership import against_membership
from etcdup.core.observed import HostSeen, MemberSeen, MemberSilent, Observed
from etcdup.core.quorum import describe, healthy, may_start, voters
from etcdup.core.rolling import restarts
from etcdup.core.spec import Spec
from etcdup.core.steps import (
    FormCluster,
    InstallBinaries,
    IssueCertificates,
    ObtainBinaries,
    Plan,
    Refusal,
    Refused,
    SealCluster,
    StartMember,
    Step,
)


def plan(spec: Spec, observed: Observed, fresh_token: str) -> Plan | Refusal:
    """What makes the hosts what the Spec says. `fresh_token` names a cluster that is formed by this plan."""
    phase = phase_of(spec, observed, fresh_token)
    reasons = _against_all(spec, observed)
    reasons += against_membership(spec, observed) if phase.name == "formed" else may_form(spec, observed)
    if reasons:
        return Refusal(spec.name, tuple(dict.fromkeys(reasons)))
    if phase.name == "formed":
        return _upkeep(spec, observed, phase.token)
    steps = [
        *_certificates(spec, observed),
        *_on_hosts(spec, observed, phase.token),
        *_form(spec, observed, phase.token),
        _seal(_names(spec)),
    ]
    return Plan(spec.name, tuple(steps), _notes(observed), phase.token)


def _upkeep(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """A cluster that exists: put files right, start what is stopped, restart what runs with old settings."""
    lost = [reason for name in _stopped(observed) if (reason := may_start(name, spec, observed))]
    if lost:
        return Refusal(spec.name, tuple(lost))
    unsealed = tuple(
        name
        for name, seen in observed.reachable().items()
        if seen.joining or (seen.marker is not None and not seen.marker.formed)
    )
    steps = [
        *_certificates(spec, observed),
        *_on_hosts(spec, observed, token),
        *([_seal(unsealed)] if unsealed else []),
        *_starts(observed),
        *restarts(_restart_reasons(spec, observed, token), observed),
    ]
    if reasons := against_first(steps, spec, observed):
        return Refusal(spec.name, reasons, _notes(observed))
    return Plan(spec.name, tuple(steps), _notes(observed), token)


def _against_all(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """What stands against any plan: a version that loses data, hosts that trust another CA, foreign data."""
    reasons = []
    if observed.binaries is not None:
        reasons += against_version(spec, vouched=observed.binaries.is_vouched)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += [*may_prepare(spec, host, seen), *_against_trust(spec, seen, observed)]
    return tuple(reasons)


def against_version(spec: Spec, *, vouched: bool) -> list[Refused]:
    """A version that loses data, unless the operator or a distribution stands for its binaries."""
    return [
        Refused(
            f"etcd {spec.version} must not be used: {advisory.problem} ({advisory.source})",
            hint=f"set `version` to {newest_patch(spec.version)}",
        )
        for advisory in refusals(spec.version, members=spec.size, vouched=vouched)
    ]


def _against_trust(spec: Spec, seen: HostSeen, observed: Observed) -> list[Refused]:
    """A managed cluster has one CA for life: a host that trusts another one means that `pki` is the wrong folder."""
    host = spec.host(seen.host)
    there = seen.files.get(layout_of(spec, host).ca())
    ours = observed.pki.trust.get("ca")
    if spec.tls.mode != "managed" or there is None or seen.marker is None or there.sha256 == ours:
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


def _certificates(spec: Spec, observed: Observed) -> list[Step]:
    if spec.tls.mode != "managed":
        return []
    pki = observed.pki
    why = {
        wanted.role: reason
        for wanted in wanted_certs(spec)
        if (reason := due(wanted, pki.certs.get(wanted.role), pki.authority, observed.at))
    }
    if not why:
        return []
    first = pki.authority is None
    reason = (
        "this cluster has no CA yet" if first else "; ".join(f"{role}: {text}" for role, text in why.items())
    )
    return [IssueCertificates(roles=tuple(why), makes_authority=first, reason=reason, rules=(18, 19, 20))]


def _on_hosts(spec: Spec, observed: Observed, token: str) -> list[Step]:
    """Host by host; the archive is obtained once before the first host that needs it."""
    steps: list[Step] = []
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            steps += host_steps(spec, host, seen, token, observed)
    return [*_obtain(observed, steps), *steps]


def _obtain(observed: Observed, steps: list[Step]) -> list[Step]:
    binaries = observed.binaries
    hosts = [step.host for step in steps if isinstance(step, InstallBinaries)]
    if binaries is None or not hosts or (binaries.source == "package" and not binaries.sha256):
        return []
    arches = tuple(sorted({observed.reachable()[name].arch for name in hosts}))
    return [
        ObtainBinaries(
            version=str(binaries.version),
            source=binaries.source,
            origin=binaries.origin,
            arches=arches,
            reason=binaries.why,
            rules=(52, 98),
        )
    ]


def _form(spec: Spec, observed: Observed, token: str) -> list[Step]:
    """Nothing is left to form once every member answers, although no host is marked yet."""
    if len(healthy(observed)) == spec.size:
        return []
    begun = [name for name, seen in observed.reachable().items() if seen.has_member]
    reason = f"an earlier apply started {', '.join(begun)}" if begun else "no host holds data of this cluster"
    quorum = describe(spec.size, spec.size)
    return [
        FormCluster(hosts=_names(spec), token=token, reason=reason, rules=(1, 2, 3, 4, 11), quorum=quorum)
    ]


def _seal(hosts: tuple[str, ...]) -> Step:
    return SealCluster(
        hosts=hosts, reason="the cluster exists: a wiped host must never form it again", rules=(6, 7)
    )


def _stopped(observed: Observed) -> list[str]:
    return [
        name
        for name, seen in observed.reachable().items()
        if not seen.unit.is_running and isinstance(observed.members[name], MemberSilent)
    ]


def _starts(observed: Observed) -> list[Step]:
    voting = voters(observed)
    alive = len(observed.answering())
    quorum = describe(voting, alive) if voting else ""
    return [
        StartMember(host=name, reason="its data is there and etcd does not run", rules=(68,), quorum=quorum)
        for name in _stopped(observed)
    ]


def _restart_reasons(spec: Spec, observed: Observed, token: str) -> dict[str, tuple[str, ...]]:
    reasons = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and (why := restart_reasons(spec, host, seen, token, observed.pki)):
            reasons[host.name] = why
    return reasons


def _notes(observed: Observed) -> tuple[str, ...]:
    notes = [
        f"{gone.host} cannot be reached and is left alone: {gone.why}"
        for gone in observed.unreachable().values()
    ]
    for name, seen in observed.members.items():
        running = isinstance(seen, MemberSilent) and name in observed.reachable()
        if running and observed.reachable()[name].unit.is_running and isinstance(seen, MemberSilent):
            notes.append(f"{name} runs but does not answer: {seen.why}")
        if isinstance(seen, MemberSeen):
            notes += [f"{name} reports {error}" for error in seen.errors]
    alarms = {alarm for seen in observed.answering().values() for alarm in seen.alarms}
    notes += [f"alarm: {alarm}" for alarm in sorted(alarms)]
    twins = _twins(observed)
    return (*notes, *twins)


def _twins(observed: Observed) -> list[str]:
    """Cloned machines share a machine-id; what else they share is worth a look (rule 96)."""
    seen: dict[str, list[str]] = {}
    for name, host in observed.reachable().items():
        if host.systemd:
            seen.setdefault(host.machine_id, []).append(name)
    return [f"{' and '.join(names)} have the same machine-id" for names in seen.values() if len(names) > 1]


def _names(spec: Spec) -> tuple[str, ...]:
    return tuple(host.name for host in spec.hosts)
