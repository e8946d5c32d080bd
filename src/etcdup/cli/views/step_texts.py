"""Steps in words that a tired operator understands."""

from etcdup.core.plan.restore_steps import FreeSpace, StartRestored, StopMembers
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.steps import (
    CancelDowngrade,
    EnableDowngrade,
    FormCluster,
    InstallBinaries,
    InstallFiles,
    IssueCertificates,
    ObtainBinaries,
    RestartMember,
    RotateAuthority,
    SealCluster,
    SwitchBinaries,
    TakeSnapshot,
    UpdatePeerUrl,
)

# Who keeps a watch on a cluster of Kubernetes, in the order of their restarts (rules 69, 104).
WATCHERS_TO_RESTART = (
    "for Kubernetes every kube-apiserver, then kube-controller-manager, kube-scheduler and the kubelets"
)

# By kind, without what the step's own values say beside it.
_KIND_TEXTS = {
    "PrepareHost": "prepare the host",
    "EnableUnit": "enable etcd.service",
    "StartMember": "start etcd",
    "FormCluster": "form the cluster",
    "SealCluster": "seal the cluster",
    "RetireMember": "stop etcd, move data aside",
    "MarkReplacement": "mark the host for a new member",
    "SetAside": "stop etcd, move data aside",
    "DetachMember": "stop etcd for good, move data aside",
    "RemoveMember": "remove from the cluster",
    "AddLearner": "add to the cluster, without a vote",
    "JoinMember": "start the new member",
    "PromoteMember": "give it a vote, once in sync",
    "CheckV2Store": "look for data of the v2 API",
    "RestartMember": "restart etcd",
    "UpdatePeerUrl": "tell the cluster its new address",
    "TakeSnapshot": "take a snapshot",
    "EnableDowngrade": "enable the downgrade",
    "CancelDowngrade": "call off the downgrade",
    "StageRestore": "restore beside what runs",
    "StopMembers": "stop every member",
    "CopyData": "keep a cold copy of the data",
    "FreeSpace": "make room on the disk",
    "SalvageData": "take a snapshot off a copy of the data",
    "PlaceData": "move old data aside, put restored data in place",
    "StartRestored": "start the restored members together",
    "FenceOff": "fence off the cluster of before",
    "SealRestore": "mark the host as restored",
    "ForgetRestore": "give up the restore that was staged",
    "MarkUndo": "mark the host: undoing its restore",
    "UndoData": "move restored data aside, put old data back",
    "RotateAuthority": "change the CA",
}
_STAGE_TEXTS = {
    "trust": "make a new CA, trusted beside the old one",
    "sign": "sign with the new CA from here on",
    "drop": "trust the new CA alone",
    "keep": "trust the old CA again, beside the new one",
}


def step_text(step: Step) -> str:
    """What a step does, in a few words and without its host."""
    match step:
        case IssueCertificates(roles=roles, makes_authority=makes_authority):
            made = "make the CA and " if makes_authority else ""
            return f"{made}issue {count_text(len(roles), 'certificate')}"
        case ObtainBinaries(version=version, source=source, arches=arches):
            return f"obtain etcd {version} for {', '.join(arches)} ({source})"
        case InstallBinaries(version=version, source=source):
            return f"install etcd {version}" + (" package" if source == "package" else "")
        case InstallFiles(changes=changes):
            return f"write {count_text(len(changes), 'file')}"
        case SwitchBinaries(version=version):
            return f"switch to etcd {version}"
        case RestartMember(no_way_back=no_way_back):
            return "restart etcd: no way back" if no_way_back else "restart etcd"
        case RotateAuthority(stage=stage):
            return _STAGE_TEXTS[stage]
        case UpdatePeerUrl(peer_url=peer_url):
            return f"tell the cluster {peer_url}"
        case TakeSnapshot(folder=folder):
            return f"take a snapshot into {folder}"
        case FreeSpace(paths=paths):
            return f"remove {', '.join(paths)}"
        case EnableDowngrade(target=target):
            return f"enable the downgrade to {target}"
        case CancelDowngrade(target=target):
            return f"call off the downgrade to {target}"
    return _KIND_TEXTS[step.kind]


def kind_text(step: Step) -> str:
    """`describe` without what differs between steps of one kind; only for steps that stand alone."""
    return _KIND_TEXTS[step.kind]


def hosts_of(step: Step) -> tuple[str, ...]:
    """The hosts that a step is about; none for what happens on the operator's machine."""
    if isinstance(step, HostStep):
        return (step.host,)
    return step.hosts if isinstance(step, FormCluster | SealCluster | StopMembers | StartRestored) else ()


def count_text(number: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
