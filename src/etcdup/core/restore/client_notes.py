"""What the clients of a cluster notice of a restore: removed keys on leases, ended watches, higher revisions."""

from etcdup.core.etcd.leases import LeaseUse
from etcdup.core.spec.version import Version

# The components of Kubernetes that watch etcd, in the order of their restarts (rules 69, 104).
WATCHERS_TO_RESTART = (
    "for Kubernetes every kube-apiserver, then kube-controller-manager, kube-scheduler and the kubelets"
)
_SHOWN_PREFIXES = 5


def can_bump(version: Version) -> bool:
    """Return whether this version's restore command has `--bump-revision`."""
    return version >= (3, 5, 10) or (3, 4, 27) <= version < (3, 5, 0)


def client_note(version: Version) -> str:
    """Return what clients notice when the restored members serve them."""
    if can_bump(version):
        return (
            "no client can connect from the stop of the members until they start again. Then every watch ends with "
            "the error `compacted`, because the revisions are higher than before, and clients read all keys again. No "
            "kube-apiserver has to be restarted"
        )
    return (
        f"etcd {version} cannot raise the revisions, so a watch that continues misses changes without an error. Stop "
        f"the clients that watch before the restore, or restart them after it: {WATCHERS_TO_RESTART}"
    )


def restart_line(version: Version) -> str:
    """Return which clients to restart after the restore, as a sentence."""
    if can_bump(version):
        return (
            "The revisions of the cluster are higher than before. Each watch ends with the error `compacted`, and "
            "clients read all keys again: no kube-apiserver has to be restarted."
        )
    return (
        f"etcd {version} cannot raise the revisions. Restart all clients that watch the cluster now: "
        f"{WATCHERS_TO_RESTART}."
    )


def lease_notes(use: LeaseUse, *, keep_leases: bool) -> tuple[str, ...]:
    """Return what happens to the leases of the restored data and to the keys on them."""
    if not use.leases:
        return ()
    leases = _count(use.leases, "lease")
    what = f"{leases} and the keys on them" if use.keys is None else f"{_count(use.keys, 'key')} on {leases}"
    listed = f": {_prefixes(use.by_prefix)}" if use.by_prefix else ""
    if keep_leases:
        return (
            f"kept because you passed `--keep-leases`: {what}{listed}. A client that had a lease at the time of the "
            "snapshot has it again, also if another client has taken its place since",
        )
    return (
        f"removed before clients can connect: {what}{listed}. A lease is a claim of a process at the time of the "
        "snapshot. Processes that run now write their keys again. `--keep-leases` keeps them",
    )


def _prefixes(by_prefix: tuple[tuple[str, int], ...]) -> str:
    shown = [f"{prefix} {count}" for prefix, count in by_prefix[:_SHOWN_PREFIXES]]
    if rest := by_prefix[_SHOWN_PREFIXES:]:
        shown.append(f"other prefixes {sum(count for _, count in rest)}")
    return ", ".join(shown)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
