"""What works on a cluster that waits for its take-over: each verb and each step, decided in one place.

A verb works if it only reads, or if it changes nothing that the tool of the members manages: the keys, the member list,
and hosts that etcdup set up itself. The rest would restart a process with files that it does not have.
"""

from collections.abc import Mapping

from etcdup.core.members.quorum import replace_waiting_hint
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import (
    AdoptHost,
    FinishTakeOver,
    GiveBackMember,
    ReleaseHost,
    TakeOverMember,
)
from etcdup.core.plan.certificate_steps import IssueCertificates, RevokeCertificates, RotateAuthority
from etcdup.core.plan.database_steps import DefragmentMember
from etcdup.core.plan.host_steps import InstallFiles, ObtainBinaries, ProveFiles, RecordEndpoints
from etcdup.core.plan.member_steps import MoveLeadership, RemoveMember
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import HostStep, Step

TAKE_OVER = "run `etcdup adopt --take-over` first"
WORKS = ""
_WORKING = """
    demo init validate schema trust adopt plan apply status logs history health check ctl export explain help
    restore-keys member-replace maintain-fix-space maintain-space maintain-defrag maintain-move-leader maintain-verify
    maintain-repair certs-list certs-issue certs-csr certs-own-ca certs-forget backup-now backup-list backup-verify
    backup-prune backup-drill backup-pki backup-log backup-compact archive-list archive-delete
"""
# Why a verb waits, by verb. The steps of `plan`, `apply` and `member replace` decide for each host.
VERBS: Mapping[str, str] = {
    **dict.fromkeys(_WORKING.split(), WORKS),
    "restart": "another tool starts their members, and etcdup does not restart them",
    "restore": "a restore exchanges data and settings of all members, which another tool manages",
    "recover": "a recovery exchanges data and settings of members, which another tool manages",
    "destroy": "another tool manages their etcd, and etcdup does not stop it",
    "certs-renew": "their members have certificates of another tool, which renews them",
    "certs-rotate-ca": "another tool manages the CA files of their members",
    "certs-revoke": "their members have no revocation list of etcdup",
}
_HINTS: Mapping[str, str] = {
    "restart": f"restart them with their own units, or {TAKE_OVER}",
    "restore": f"{TAKE_OVER}, or restore the backup on other hosts with a cluster.yaml of their own",
    "recover": "start the members with the tool that made them. If their data is lost, restore a backup on other hosts "
    "with a cluster.yaml of their own",
    "destroy": "run `etcdup adopt --release`, which removes the markers and nothing else",
    "certs-renew": f"renew them in the way they were made, or {TAKE_OVER}",
}
# Steps that change no file, unit or process of a host, and the steps of the adoption itself.
ALLOWED: tuple[type[Step], ...] = (
    AdoptHost,
    ReleaseHost,
    RecordEndpoints,
    IssueCertificates,
    ObtainBinaries,
    DefragmentMember,
    MoveLeadership,
    TakeOverMember,
    GiveBackMember,
    FinishTakeOver,
)
_OF_ALL_HOSTS = (RotateAuthority, RevokeCertificates)


def refuse_verb(verb: str, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a verb that must wait for the take-over. `verb` is what the operator typed after `etcdup`."""
    name = _name_of(verb)
    why = VERBS.get(name, WORKS)
    if why == WORKS or not observed.adopted:
        return ()
    hosts = ", ".join(observed.adopted)
    return (Refused(f"{hosts}: not before the take-over: {why}", _HINTS.get(name, TAKE_OVER)),)


def _may_wait(name: str, observed: Observed) -> bool:
    """Return whether this host, which cluster.yaml does not name, can be one of the adopted hosts.

    etcdup connects to hosts that it set up itself: the PKI has their certificates.
    """
    if not observed.adopted or name not in observed.leaving or name in observed.reachable():
        return False
    return f"server/{name}" not in observed.pki.certs


def _refuse_removal(name: str) -> Refused:
    return Refused(
        f"{name} is not in cluster.yaml, and its host may wait for its take-over: another tool would start it again",
        f"write {name} back into cluster.yaml. Or stop its etcd with the tool that made it, then remove it with "
        "`etcdup ctl -- member remove ID`",
        name,
    )


def _name_of(verb: str) -> str:
    """Return the name of the verb in VERBS, without its options and arguments."""
    words = verb.split()
    return next((name for name in ("-".join(words[:2]), *words[:1]) if name in VERBS), "")


def refuse_step_of_waiting(step: Step, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a step that changes a host that waits for its take-over."""
    if isinstance(step, ALLOWED) or _repairs_taken(step, observed):
        return ()
    if isinstance(step, RemoveMember) and _may_wait(step.host, observed):
        return (_refuse_removal(step.host),)
    named = (step.host,) if isinstance(step, HostStep) else getattr(step, "hosts", ())
    touched = observed.adopted if isinstance(step, _OF_ALL_HOSTS) else named
    return tuple(
        Refused(
            f"{name} waits for its take-over: until then, etcdup changes nothing on this host",
            _hint_of(name, observed),
            name,
        )
        for name in touched
        if name in observed.adopted
    )


def _repairs_taken(step: Step, observed: Observed) -> bool:
    """Return whether a step is of a host that is taken over, and concerns certificates.

    Its certificates are those of etcdup, and no other difference of such a host is planned (members/waiting.py). With
    a bad one, its member serves no client. So no other host could be taken over, and the member not be given back.
    """
    if not isinstance(step, InstallFiles | ProveFiles):
        return False
    seen = observed.reachable().get(step.host)
    return seen is not None and seen.is_taken


def _hint_of(name: str, observed: Observed) -> str:
    """Return what to do for this step. A member that does not run cannot be taken over."""
    if isinstance(observed.members.get(name), MemberSilent):
        return f"start etcd on {name} with the unit or the tool that ran it. If its data is lost, " + (
            replace_waiting_hint(name)
        )
    return f"{TAKE_OVER}, or undo the edit of cluster.yaml"
