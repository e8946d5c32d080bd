"""What is not finished or differs from cluster.yaml: nothing of this is a fault of the running cluster."""

from collections.abc import Iterator, Mapping

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca, hosts_without_new_ca, rotation_stage
from etcdup.core.host.drift import file_changes, restart_reasons
from etcdup.core.host.files import desired_files
from etcdup.core.members.member_list import member_list_differences, name_of, stray_members
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.verdict.cause import Cause, named
from etcdup.core.versions.upgrade_paths import way_back_note
from etcdup.core.versions.version_steps import running_versions, version_path

_APPLY_HINT = (
    "run `etcdup apply`, which makes the member list equal to cluster.yaml. It shows the steps and asks first"
)
_TRUST_HINT = (
    "run `etcdup apply`, which restarts one member after the other, so that all trust both CAs. Then `etcdup certs "
    "rotate-ca` continues the rotation"
)


def waiting_causes(observed: Observed) -> Iterator[Cause]:
    """Yield the hosts that wait for their take-over. Nothing is wrong with them."""
    if not observed.adopted:
        return
    yield Cause(
        "the cluster is adopted: until the take-over, etcdup changes nothing on these hosts",
        "run `etcdup adopt --take-over` to let etcdup manage them, or `etcdup adopt --release` to leave them",
        effects=tuple(f"{name}: {_waits(observed, name)}" for name in observed.adopted),
        level="unfinished",
        code="take-over-waits",
    )


def _waits(observed: Observed, name: str) -> str:
    if observed.reachable()[name].is_taken:
        return "taken over, and other hosts still wait"
    return "its unit, program, user, settings and certificates wait for the take-over"


def lock_causes(observed: Observed) -> Iterator[Cause]:
    if observed.lock_holder:
        what = f"another etcdup changes this cluster now: {observed.lock_holder}"
        hint = (
            "wait until it ends, then run the same command again. If it was killed, its lock ends by itself"
        )
        yield Cause(what, hint, level="unfinished", rules=(34,), code="cluster-locked")


def work_causes(spec: Spec, observed: Observed) -> Iterator[Cause]:
    """Yield changes of the CA, of the version and of members that are not finished."""
    yield from _rotation_causes(spec, observed)
    yield from _version_causes(spec, observed)
    yield from _difference_causes(spec, observed)


def _rotation_causes(spec: Spec, observed: Observed) -> Iterator[Cause]:
    """Yield the state of a CA rotation. Apply keeps its phase; only `certs rotate-ca` starts the next phase."""
    phase = rotation_stage(observed.pki)
    if phase is not None:
        signs = "the new CA signs"
        if phase == "trust":
            signs = (
                "no CA signs until the next phase" if observed.pki.is_from_provided else "the old CA signs"
            )
        waiting = hosts_without_new_ca(spec, observed)
        trusts = "the members trust the old and the new CA"
        if waiting:
            trusts = f"{named(waiting)} {'do' if len(waiting) > 1 else 'does'} not trust the new CA yet"
        yield Cause(
            f"a CA rotation is in progress: {trusts}, {signs}",
            _TRUST_HINT if waiting else "run `etcdup certs rotate-ca`, which continues it",
            level="unfinished",
            rules=(15,),
            by_apply=bool(waiting),
            code="rotation-unfinished",
        )
    if names := hosts_dropping_old_ca(spec, observed):
        what = f"a CA rotation is in progress: the members drop the old CA, and {named(names)} still trust it"
        hint = "run `etcdup apply`, which continues it"
        yield Cause(what, hint, level="unfinished", rules=(15,), by_apply=True, code="rotation-unfinished")


def _version_causes(spec: Spec, observed: Observed) -> Iterator[Cause]:
    running = _names_by_value(
        {name: str(seen.version) for name, seen in sorted(observed.answering().items())}
    )
    if len(running) > 1:
        groups = "; ".join(
            f"{named(names)} {_verb(names)} {version}" for version, names in sorted(running.items())
        )
        yield Cause(
            f"a change of version is not finished: {groups}; cluster.yaml has {spec.version}",
            _version_hint(spec, observed),
            level="unfinished",
            rules=(46,),
            by_apply=True,
            code="versions-mixed",
        )


def _version_hint(spec: Spec, observed: Observed) -> str:
    """Return how to complete a change of version, when it becomes final, and how to go back before that."""
    hint = "run `etcdup apply`, which completes it"
    path = version_path(spec, observed)
    hop = path[0] if path and not isinstance(path, Refused) else None
    if hop is None or hop.kind != "upgrade":
        return hint
    back = way_back_note(hop, min(running_versions(spec, observed)))
    return f"{hint}. {back[:1].upper()}{back[1:]}"


def _verb(names: list[str]) -> str:
    return "run" if len(names) > 1 else "runs"


def _difference_causes(spec: Spec, observed: Observed) -> Iterator[Cause]:
    for name in observed.dissenting:
        yield Cause(
            f"{name} reports another member list than the other members",
            f"run the same command again in a minute. If the list still differs, run `etcdup logs {name}` to see why "
            "this member does not follow the other members",
            (name,),
            rules=(107,),
            code="member-list-dissents",
        )
    strays = [name_of(each) for each in stray_members(spec, observed.member_list)]
    for line in member_list_differences(spec, observed):
        is_stray = any(line.startswith(f"{name} ") for name in strays)
        hint = (
            "ask the other operators who added it. If this member is yours, add its host to cluster.yaml. Otherwise "
            "`etcdup apply` removes it"
        )
        name = line.partition(" ")[0]
        yield Cause(
            line,
            hint if is_stray else _APPLY_HINT,
            (name,) if name in observed.hosts else (),
            level="different",
            rules=(107,),
            by_apply=True,
            code="members-differ-from-file",
        )


def differing_files(spec: Spec, observed: Observed, token: str) -> Iterator[Cause]:
    """Yield one cause each for missing programs, files that differ, and members that wait for a restart."""
    hosts = [(host, seen) for host in spec.hosts if (seen := _marked(spec, observed, host)) is not None]
    yield from _missing_programs(hosts)
    differing = {
        host.name: named(paths)
        for host, seen in hosts
        if (paths := _differing(spec, host, seen, observed, token))
    }
    if differing:
        yield Cause(
            f"files on hosts differ from cluster.yaml: {_by_value(differing)}",
            "run `etcdup plan` to see each difference. `etcdup apply` writes them again",
            level="different",
            rules=(40,),
            by_apply=True,
            code="files-differ",
        )
    reasons = ((host, restart_reasons(spec, host, seen, token, observed.pki)) for host, seen in hosts)
    due = {host.name: "; ".join(why) for host, why in reasons if why}
    if due:
        yield Cause(
            f"settings wait for a restart: {_by_value(due)}",
            "run `etcdup apply`, which restarts one member after the other",
            level="different",
            rules=(38,),
            by_apply=True,
            code="restart-waits",
        )


def _missing_programs(hosts: list[tuple[HostSpec, HostSeen]]) -> Iterator[Cause]:
    """Yield the running members whose programs were deleted: such a member cannot start again."""
    without = {
        host.name: f"etcd {running}"
        for host, seen in hosts
        if (running := seen.unit.running_version) and running not in seen.versions
    }
    if without:
        yield Cause(
            f"the programs of running members are missing: {_by_value(without)}",
            "run `etcdup apply`, which installs them. Until then, do not restart these members or their hosts",
            tuple(without),
            level="different",
            rules=(52,),
            by_apply=True,
            code="programs-missing",
        )


def _by_value(values: Mapping[str, str]) -> str:
    """Return `infra1, infra2: VALUE; infra3: VALUE`: each value once, with its hosts."""
    return "; ".join(f"{named(names)}: {value}" for value, names in _names_by_value(values).items())


def _names_by_value(values: Mapping[str, str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return names


def _marked(spec: Spec, observed: Observed, host: HostSpec) -> HostSeen | None:
    """Return the host if it has this member, and nothing exchanges its data or the member now."""
    seen = observed.reachable().get(host.name)
    marker = seen.marker_of(spec.name) if seen else None
    if seen is None or marker is None or not marker.formed or marker.is_being_restored:
        return None
    return seen if seen.is_marked(spec.name) and seen.has_member else None


def _differing(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed, token: str) -> tuple[str, ...]:
    """Return the text files that differ. Certificates and keys have findings of their own."""
    files = desired_files(spec, host, layout_of(spec, host), token, observed.pki)
    return tuple(change.path for change in file_changes(files, seen) if not change.path.endswith(".pem"))
