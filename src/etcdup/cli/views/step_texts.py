"""What a step does, in a few words, and how counts are written."""

from etcdup.core.plan.restore_steps import FreeSpace, RevokeLeases, StartRestored, StopMembers
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.steps import (
    CancelDowngrade,
    EnableDowngrade,
    FormCluster,
    InstallBinaries,
    InstallFiles,
    IssueCertificates,
    ObtainBinaries,
    RecordEndpoints,
    RestartMember,
    RotateAuthority,
    SealCluster,
    SwitchBinaries,
    TakeSnapshot,
    UpdatePeerUrl,
)

# By kind, without the values of the single step.
_KIND_TEXTS = {
    "PrepareHost": "prepare the host",
    "EnableUnit": "enable etcd.service",
    "ProveFiles": "prove the files of an earlier run",
    "StartMember": "start etcd",
    "FormCluster": "form the cluster",
    "SealCluster": "seal the cluster",
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
    "MoveClients": "restart etcd with both CAs, so that its clients connect to other members",
    "UpdatePeerUrl": "update the peer URL in the member list",
    "DisarmSpaceAlarm": "disarm the NOSPACE alarm",
    "TakeSnapshot": "take a snapshot",
    "EnableDowngrade": "enable the downgrade",
    "CancelDowngrade": "cancel the downgrade",
    "StageRestore": "restore the snapshot next to the data directory",
    "StopMembers": "stop every member",
    "CopyData": "copy the data of the stopped member",
    "FreeSpace": "free disk space",
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
    "RotateAuthority": "rotate the CA",
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
            made = "create the CA and " if makes_authority else ""
            return f"{made}issue {count_text(len(roles), 'certificate')}"
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
        case RestartMember(no_way_back=no_way_back):
            return "restart etcd: point of no return" if no_way_back else "restart etcd"
        case RotateAuthority(stage=stage):
            return _STAGE_TEXTS[stage]
        case UpdatePeerUrl(peer_url=peer_url):
            return f"update the peer URL to {peer_url}"
        case TakeSnapshot(folder=folder):
            return f"take a snapshot into {folder}"
        case FreeSpace(paths=paths):
            return f"remove {', '.join(paths)}"
        case EnableDowngrade(target=target):
            return f"enable the downgrade to {target}"
        case CancelDowngrade(target=target):
            return f"cancel the downgrade to {target}"
    return _KIND_TEXTS[step.kind]


def kind_text(step: Step) -> str:
    """Return `step_text` without the values that differ between steps of one kind."""
    return _KIND_TEXTS[step.kind]


def hosts_of(step: Step) -> tuple[str, ...]:
    """Return the hosts of a step, none for a step on the operator's machine."""
    if isinstance(step, HostStep):
        return (step.host,)
    several = FormCluster | SealCluster | RecordEndpoints | StopMembers | RevokeLeases | StartRestored
    return step.hosts if isinstance(step, several) else ()


def count_text(number: int, what: str) -> str:
    """Return a count with its noun: `1 step`, `2 steps`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
