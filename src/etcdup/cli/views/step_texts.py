"""What a step does, in a few words, and how counts are written."""

from etcdup.core.certs.issue import CRL_ROLE
from etcdup.core.plan.certificate_steps import IssueCertificates, RevokeCertificates, RotateAuthority
from etcdup.core.plan.database_steps import CompactHistory
from etcdup.core.plan.host_steps import (
    DeleteArchives,
    InstallBinaries,
    InstallFiles,
    ObtainBinaries,
    RecordEndpoints,
    SwitchBinaries,
)
from etcdup.core.plan.member_steps import FormCluster, RestartMember, SealCluster, UpdatePeerUrl
from etcdup.core.plan.restore_steps import FreeSpace, RestoreKeys, RevokeLeases, StartRestored, StopMembers
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.version_steps import CancelDowngrade, EnableDowngrade, TakeSnapshot
from etcdup.core.spec.version import parse_version
from etcdup.core.versions.upgrade_paths import way_back

# By kind, without the values of the single step.
_KIND_TEXTS = {
    "PrepareHost": "prepare the host",
    "AdoptHost": "write the marker, and nothing else",
    "ReleaseHost": "remove the marker, and nothing else",
    "EnableUnit": "enable etcd.service",
    "ProveFiles": "prove the files of an earlier run",
    "StartMember": "start etcd",
    "FormCluster": "form the cluster",
    "SealCluster": "write the marker: the cluster is formed",
    "RecordEndpoints": "record the endpoints that clients may know",
    "RetireMember": "stop etcd, archive its data",
    "MarkReplacement": "write the marker for a new member",
    "SetAside": "stop etcd, archive its data",
    "DetachMember": "stop and disable etcd, archive its data",
    "RemoveMember": "remove from the cluster",
    "AddLearner": "add to the cluster as a learner",
    "JoinMember": "start the new member",
    "PromoteMember": "promote to voter once in sync",
    "CheckV2Store": "check for data of the v2 API",
    "EnsureRaftSnapshot": "make sure of a new raft snapshot",
    "RestartMember": "restart etcd",
    "DrainMember": "transfer leadership, stop etcd",
    "MoveClients": "restart etcd with both CAs, so that its clients connect to other members",
    "UpdatePeerUrl": "update the peer URL in the member list",
    "CompactHistory": "compact the history",
    "DefragmentMember": "defragment the database",
    "DefragmentOffline": "stop etcd, defragment the database, start etcd",
    "MoveLeadership": "transfer the leadership to this member",
    "DisarmSpaceAlarm": "disarm the NOSPACE alarm",
    "DisarmCorruptAlarm": "compare the data, disarm the CORRUPT alarm",
    "TakeSnapshot": "take a snapshot",
    "EnableDowngrade": "enable the downgrade",
    "CancelDowngrade": "cancel the downgrade",
    "StageRestore": "restore the snapshot next to the data directory",
    "StopMembers": "stop every member",
    "CopyData": "copy the data of the stopped member",
    "FreeSpace": "free disk space",
    "DeleteArchives": "delete archives",
    "SalvageData": "take a snapshot from a copy of the data",
    "SalvageArchive": "take a snapshot from a copy of the archived data",
    "PlaceData": "archive the old data, put the restored data in place",
    "RevokeLeases": "revoke all leases before clients can connect",
    "OpenClients": "write the settings for clients",
    "StartRestored": "start the restored members together",
    "FenceOff": "write the keys of the startup fence",
    "SealRestore": "write the marker: restore is complete",
    "EnableFence": "enable the startup fence",
    "ForgetRestore": "delete the staged data",
    "MarkUndo": "write the marker: undo has begun",
    "UndoData": "archive the restored data, put the old data back",
    "RestoreKeys": "write old values of keys",
    "RevokeCertificates": "revoke certificates",
    "RotateAuthority": "rotate the CA",
    "TakeOverMember": "restart etcd with the unit and the files of etcdup",
    "GiveBackMember": "restart etcd with its old unit",
    "FinishTakeOver": "write the final settings, and the markers of hosts that etcdup manages",
}
# The steps whose text has values, for a list of the past.
_PLAIN_TEXTS = {
    "InstallFiles": "write files",
    "InstallBinaries": "install etcd",
    "SwitchBinaries": "switch to the installed etcd",
    "ObtainBinaries": "obtain etcd",
    "IssueCertificates": "issue certificates",
}
_STAGE_TEXTS = {
    "trust": "create a new CA, trust both CAs",
    "sign": "sign with the new CA from now on",
    "drop": "trust only the new CA",
    "keep": "trust both CAs again",
}


def step_text(step: Step) -> str:
    """Return what a step does, without its host."""
    match step:
        case IssueCertificates(roles=roles, makes_authority=makes_authority):
            certs = f"issue {count_text(len(roles) - (CRL_ROLE in roles), 'certificate')}"
            if makes_authority:
                return f"create the CA and {certs}"
            return "sign the revocation list" if roles == (CRL_ROLE,) else certs
        case RevokeCertificates(roles=roles):
            return f"revoke {roles[0] if len(roles) == 1 else count_text(len(roles), 'certificate')}"
        case ObtainBinaries(version=version, source=source, arches=arches):
            return f"obtain etcd {version} for {', '.join(arches)} ({source})"
        case InstallBinaries(version=version, source=source):
            return f"install etcd {version}" + (" package" if source == "package" else "")
        case InstallFiles(changes=changes):
            return f"write {count_text(len(changes), 'file')}"
        case RecordEndpoints(endpoints=endpoints):
            return f"record the endpoints that clients may know: {', '.join(endpoints)}"
        case SwitchBinaries(version=version):
            return f"switch to etcd {version}"
        case RestartMember(version=version, no_way_back=True):
            return f"restart etcd: {_end_of_minor(version)}"
        case RotateAuthority(stage=stage):
            return _STAGE_TEXTS[stage]
        case UpdatePeerUrl(peer_url=peer_url):
            return f"update the peer URL to {peer_url}"
        case CompactHistory(revision=revision):
            return f"compact the history up to revision {revision}"
        case TakeSnapshot(folder=folder):
            return f"take a snapshot into {folder}"
        case RestoreKeys(created=created, overwritten=overwritten):
            return f"create {count_text(created, 'key')}, overwrite {count_text(overwritten, 'key')}"
        case FreeSpace(paths=paths):
            return f"remove {', '.join(paths)}"
        case DeleteArchives(paths=paths):
            return f"delete {', '.join(paths)}"
        case EnableDowngrade(target=target):
            return f"enable the downgrade to {target}"
        case CancelDowngrade(target=target):
            return f"cancel the downgrade to {target}"
    return _KIND_TEXTS[step.kind]


def _end_of_minor(version: str) -> str:
    """Return what the last member of a minor ends: with a downgrade, the way back is only another one."""
    older = way_back(parse_version(version).series)
    return f"last member of {older[0]}.{older[1]}" if older else "point of no return"


def kind_text(step: Step) -> str:
    """Return `step_text` without the values that differ between steps of one kind."""
    return _KIND_TEXTS[step.kind]


def past_text(kind: str) -> str:
    """Return what a step of this kind of a journal does. A kind of another version of etcdup stays as it is."""
    return _KIND_TEXTS.get(kind) or _PLAIN_TEXTS.get(kind, kind)


def hosts_of(step: Step) -> tuple[str, ...]:
    """Return the hosts of a step, none for a step on the operator's machine."""
    if isinstance(step, HostStep):
        return (step.host,)
    several = FormCluster | SealCluster | RecordEndpoints | StopMembers | RevokeLeases | StartRestored
    return step.hosts if isinstance(step, several) else ()


def count_text(number: int, what: str) -> str:
    """Return a count with its noun: `1 step`, `2 steps`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
