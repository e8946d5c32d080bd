"""Causes on the hosts: what is wrong with each host and with its member, one cause for hosts with the same fault."""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.certs.validity import is_valid, untimely_roles, validity_hint
from etcdup.core.host.clocks import host_clocks, refuse_clocks
from etcdup.core.host.host_case import HostCase
from etcdup.core.host.machine_faults import refuse_lost_marker
from etcdup.core.host.outside_settings import drop_in_notes
from etcdup.core.host.requirements import refuse_start_again
from etcdup.core.members.bootstrap import CLOCK_LIMIT_S
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.peer_ports import moved_hosts
from etcdup.core.members.quorum import refuse_lost_data, refuse_unmounted
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen
from etcdup.core.observed.state import free_space_hint, full_directory
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size
from etcdup.core.verdict.cause import Cause, causes_of, named

# The end of a hint that `check` leaves out, because it has the result.
CHECK_TESTS = ". `etcdup check` tests them"


def clock_causes(spec: Spec, observed: Observed) -> list[Cause]:
    return causes_of(refuse_clocks(host_clocks(spec, observed), CLOCK_LIMIT_S), "clock-differs")


def certificate_causes(spec: Spec, observed: Observed) -> Iterator[Cause]:
    """Yield one cause for all certificates that are not valid now: those of members and that of etcdup."""
    names = tuple(host.name for host in spec.hosts if untimely_roles(host.name, observed))
    roles = [f"{role}/{name}" for name in names for role in untimely_roles(name, observed)]
    admin = observed.pki.certs.get("admin")
    own = admin is not None and not is_valid(admin, observed)
    certs = [observed.pki.certs[role] for role in roles] + ([admin] if admin and own else [])
    if not certs:
        return
    of = " and ".join(filter(None, (named(names), "etcdup" if own else "")))
    yield Cause(
        f"the certificates of {of} {_when(certs, observed)}",
        validity_hint(spec),
        names if not own else tuple(host.name for host in spec.hosts),
        rules=(17,),
        by_apply=spec.tls.mode == "managed",
        code="certificate-not-valid",
    )


def _when(certs: list[CertSeen], observed: Observed) -> str:
    expired = [cert.not_after for cert in certs if observed.at >= cert.not_after]
    if expired:
        return f"expired on {min(expired):%Y-%m-%d %H:%M} UTC"
    begin = max(cert.not_before for cert in certs)
    now = f"{observed.at:%Y-%m-%d %H:%M} UTC"
    return f"are valid from {begin:%Y-%m-%d %H:%M} UTC on, and the clock of this machine is at {now}"


def host_causes(spec: Spec, observed: Observed, *, formed: bool) -> list[Cause]:
    """Return what is wrong with reachable hosts. `formed`: the cluster exists, so members without data lost it."""
    found = [
        each
        for name, seen in observed.reachable().items()
        if _is_expected(spec, observed, name)
        for each in _causes_on(spec, observed, name, seen, formed=formed)
    ]
    return [*_joined(found)]


def _is_expected(spec: Spec, observed: Observed, name: str) -> bool:
    """Return whether a member must run here: the host is in cluster.yaml, and the list has it or is not known."""
    members = member_list(observed)
    if name in observed.leaving:
        return False
    return not members or entry_of(spec, spec.host(name), members) is not None


def _causes_on(spec: Spec, observed: Observed, name: str, seen: HostSeen, *, formed: bool) -> Iterator[Cause]:
    silent = observed.members.get(name)
    marker = seen.marker_of(spec.name)
    if formed:
        case = HostCase(spec, spec.host(name), seen)
        yield from causes_of(refuse_lost_marker(case), "marker-missing", (name,))
    if marker is None or marker.replaces or marker.is_being_restored:
        return
    if formed and marker.formed and not seen.has_member and not seen.joining:
        unmounted = causes_of(refuse_unmounted(seen), "disk-not-mounted", (name,))
        yield from unmounted or causes_of(refuse_lost_data(seen), "data-lost", (name,))
        return
    if full := full_directory(seen):
        yield Cause(
            f"{name}: the disk is full: {full.path} has {show_size(full.free_bytes)} of free space",
            free_space_hint(name, full),
            (name,),
            rules=(93,),
            code="disk-full",
        )
    if isinstance(silent, MemberSilent):
        yield _silent_cause(spec, observed, name, seen, silent)


def _silent_cause(spec: Spec, observed: Observed, name: str, seen: HostSeen, silent: MemberSilent) -> Cause:
    unit = seen.unit
    if seen.is_adopted and not (seen.is_taken and unit.is_running):
        return _silent(name, silent.why, _adopted_hint(name, seen), code="member-silent")
    prevented = refuse_start_again(spec, spec.host(name), seen) if unit.active != "active" else ()
    if prevented:
        return _prevented_cause(name, prevented, silent)
    if unit.is_running and name in (moved := moved_hosts(spec, observed)):
        return _moved_cause(name, moved)
    if unit.is_running:
        hint = silent.hint or (
            f"run `{_logs(name)}` to find the cause. If the log has no error, check that a firewall permits the client "
            "port"
        )
        return _silent(name, f"etcd runs and does not answer: {silent.why}", hint, code="member-silent")
    if unit.has_failed:
        return _failed_cause(name, seen, silent)
    if unit.is_coming_up:
        hint = "wait a minute, then run the same command again"
        return _silent(name, silent.why, hint, code="etcd-starting")
    hint = (
        f"run `{_logs(name)}` to see why it stopped, then `etcdup apply`, which starts it. Do not start it if an "
        "operator stopped it on purpose, for example with `etcdup restart --drain`"
    )
    return replace(_silent(name, silent.why, hint, code="etcd-stopped"), by_apply=True)


def _moved_cause(name: str, moved: frozenset[str]) -> Cause:
    """Return the cause of a member that still runs with the address that cluster.yaml had before an edit."""
    hint = "run `etcdup apply`, which restarts the member with the new address"
    if len(moved) > 1:
        hint = (
            "change one address at a time: keep one new address in cluster.yaml, write the previous ones of the other "
            "hosts back, and run `etcdup apply`. Then change the next one"
        )
    what = "etcd runs with its previous address, not with that of cluster.yaml"
    return replace(_silent(name, what, hint, code="member-silent"), by_apply=len(moved) == 1)


def _silent(name: str, why: str, hint: str, *, code: str) -> Cause:
    return Cause(f"{name}: {why}", hint, (name,), rules=(11,), code=code)


def _adopted_hint(name: str, seen: HostSeen) -> str:
    if seen.is_taken:
        return f"run `systemctl start etcd` on {name}"
    return (
        f"on {name}, start etcd with the unit or the tool that ran it until now. If the machine is lost, run `etcdup "
        f"member replace {name} --address ADDRESS`"
    )


def _prevented_cause(name: str, prevented: tuple[Refused, ...], silent: MemberSilent) -> Cause:
    """Return the cause that prevents a start. The other ones, and the silence, are its effects."""
    code = "start-prevented"
    if any("is in use" in each.message for each in prevented):
        code = "port-taken"
    causes = causes_of(prevented, code, (name,))
    effects = (*(each.what for each in causes[1:]), silent.why)
    return replace(causes[0], hint=_then_apply(causes[0].hint), effects=effects)


def _failed_cause(name: str, seen: HostSeen, silent: MemberSilent) -> Cause:
    changes = tuple(drop_in_notes(seen))
    if silent.hint:
        hint = _then_apply(silent.hint)
    elif changes:
        hint = (
            f"run `{_logs(name)}` to find the cause. If the drop-in is the cause, remove it and run `systemctl "
            f"daemon-reload` on {name}. Then run `etcdup apply`"
        )
    else:
        hint = f"run `{_logs(name)}` to find the cause. When it is corrected, run `etcdup apply`"
    return replace(_silent(name, silent.why, hint, code="etcd-fails"), effects=changes)


def _logs(name: str) -> str:
    return f"etcdup logs {name}"


def _then_apply(hint: str) -> str:
    """Return the hint, which ends with the command that starts the member."""
    return hint if "`etcdup " in hint else f"{hint}. Then run `etcdup apply`"


def answer_causes(observed: Observed) -> Iterator[Cause]:
    """Yield the members that answer and have no leader, or report an error."""
    answering = sorted(observed.answering().items())
    if names := tuple(name for name, seen in answering if not seen.leader_id and not seen.is_learner):
        yield Cause(
            f"{named(names)} {'report' if len(names) > 1 else 'reports'} no leader",
            f"permit TCP connections between the hosts to the peer ports of the members{CHECK_TESTS}",
            names,
            rules=(11,),
            code="no-leader",
        )
    for name, seen in answering:
        for error in seen.errors:
            if "no leader" not in error:
                hint = f"run `{_logs(name)}` to find the cause"
                yield Cause(
                    f"{name} reports an error: {error}", hint, (name,), rules=(11,), code="member-error"
                )


def _joined(found: list[Cause]) -> Iterator[Cause]:
    """Yield the causes. Those that differ only in the host are one cause: its hint has the logs of all members."""
    alike: dict[tuple[str, str, str], list[Cause]] = {}
    for each in found:
        name = each.hosts[0]
        rest = each.what.removeprefix(f"{name}: ")
        hint = each.hint.replace(f"`{_logs(name)}`", "`etcdup logs`")
        alike.setdefault((rest, hint, each.code), []).append(each)
    for (rest, hint, _), group in alike.items():
        hosts = tuple(each.hosts[0] for each in group)
        together = replace(group[0], what=f"{named(hosts)}: {rest}", hint=hint, hosts=hosts)
        yield together if len(group) > 1 else group[0]
