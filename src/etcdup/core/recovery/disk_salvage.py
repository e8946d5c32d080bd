"""Salvage: a snapshot of a member's data up to the end of its log, taken from a copy of the data on its disk.

A member that is stopped, or that was restarted without a quorum, serves no client and still has all its data on its
disk (rule 68). A member that answers may have log entries that it has not recorded as committed, although clients
received success for them. The database file alone may not contain these entries, and has no checksum (rule 55). So the
member is stopped, its data is copied, and the host's own etcd serves the copy to etcdup until the snapshot is taken.

That etcd becomes a cluster of one by `--force-new-cluster`. Rules 63 to 66 forbid this for members that keep running.
This etcd listens on loopback only, with keys that no member and no client accepts, so nothing connects to it. Releases
before 3.5.25 and 3.6.6 leave old entries in its member list; a restore of its snapshot does not take them over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from etcdup.core.etcd.wal import LastEntry
from etcdup.core.host.actions import HostAction, RunCommand
from etcdup.core.host.data_paths import archived_path
from etcdup.core.host.log_files import log_folder
from etcdup.core.host.member_user import RIGHTS, as_user, own_folder, remove_argv
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.directory import ASIDE_PREFIX, DirSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import SalvageData, StopMembers
from etcdup.core.plan.step import Step
from etcdup.core.restore.data_copy import COPY_TIMEOUT_S, SIZE_SCRIPT, copy_data_commands
from etcdup.core.restore.stopped_check import still_running
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

BACKUP_HINT = "Without this data, restore the newest backup: `etcdup backup list`, `etcdup restore`"


def salvageable_hosts(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return the reachable hosts of cluster.yaml that have data of a member of this cluster."""
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) and seen.has_member and seen.marker_of(spec.name)
    )


def newest_log(logs: Mapping[str, LastEntry]) -> str:
    """Return the host whose log has every committed entry that any of these logs has.

    Raft compares the last entries: first the term, then the index. The log determines a member's state, so a revision
    or an applied index adds no information.
    """
    return max(sorted(logs), key=lambda name: logs[name])


def plan_salvage(
    spec: Spec,
    observed: Observed,
    host: str,
    last: LastEntry,
    snapshot: str,
    size: int,
    notes: Sequence[str],
) -> Plan | Refusal:
    """Return the steps that salvage the data of `host`, or the reasons against it.

    `spec` has that host only, as for a recovery. `size` is the bytes of a copy of its data. `snapshot` is the file that
    is written on the operator's machine.
    """
    if reasons := _refuse_unreachable(observed) or refuse_salvage(observed, host, size):
        return Refusal(spec.name, reasons)
    salvage = Plan(spec.name, tuple(_steps(spec, observed, host, last, snapshot)), tuple(notes))
    return only_on_ready_hosts(salvage, spec, observed)


def salvage_notes(spec: Spec, observed: Observed, logs: Mapping[str, LastEntry]) -> tuple[str, ...]:
    """Return what the operator must know before anything is stopped. `spec` is of the whole cluster."""
    answering = observed.answering()
    why = "; ".join(
        f"{host.name}: {_why(host.name, observed)}" for host in spec.hosts if host.name not in answering
    )
    first = (
        "a member's write-ahead log has entries that no responding member has applied. etcd may have acknowledged "
        "them to clients, so the data is recovered from the disk of that member"
        if answering
        else f"no member answers, so the data is recovered from a member's disk ({why})"
    )
    return (
        first,
        f"the data of {newest_log(logs)} is used, {_logs_text(logs)}",
        "the data is only read: an etcd on the host serves a copy of it to etcdup only, and etcdup removes the copy "
        "after the snapshot. Then etcdup shows the plan that rebuilds the cluster from the snapshot",
    )


def salvage_path(directory: DirSeen) -> str:
    """Return the path of the temporary copy: next to the directory, or inside it if it is a mount point.

    Inside a mount point, a name that starts with `aside-` does not count as data.
    """
    return f"{directory.path}/{ASIDE_PREFIX}salvage" if directory.mount else f"{directory.path}.salvage"


def with_archived_data(seen: HostSeen, suffix: str) -> HostSeen:
    """Return the host with the data that was archived under this suffix in place of its data (rule 56)."""
    return replace(
        seen,
        data=_archived(seen.data, suffix),
        wal=_archived(seen.wal, suffix) if seen.wal else None,
    )


def _archived(directory: DirSeen, suffix: str) -> DirSeen:
    return replace(directory, path=archived_path(directory, suffix), mount=False, has_wal=True)


def salvage_keys_path(layout: Layout) -> str:
    """Return the directory of the temporary keys. It is on tmpfs, so that the keys are never on a disk."""
    return f"{layout.run}/salvage"


def wal_path(seen: HostSeen, *, copied: bool = False) -> str:
    """Return the directory of the write-ahead log, of the member or of the copy."""
    if not copied:
        return log_folder(seen)
    return salvage_path(seen.wal) if seen.wal is not None else f"{salvage_path(seen.data)}/member/wal"


def salvage_size_argv(seen: HostSeen) -> tuple[str, ...]:
    """Return a read-only command that prints how many KiB the copy needs."""
    pairs = []
    for directory in filter(None, (seen.data, seen.wal)):
        pairs += [f"{directory.path}/member" if directory.mount else directory.path, salvage_path(directory)]
    return ("sh", "-c", SIZE_SCRIPT, "size", *pairs)


def copy_commands(seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """Yield the commands that copy the data of the stopped member.

    They first remove a copy that an interrupted run left, so that it is never used as the new copy.
    """
    doing = "copying the data for a snapshot"
    yield from clear_copy_commands(seen, layout, doing)
    for directory in filter(None, (seen.data, seen.wal)):
        yield from copy_data_commands(layout, directory, salvage_path(directory), doing)
    yield RunCommand(own_folder(layout, salvage_keys_path(layout), "0750", "root:etcd"), doing)


def clear_copy_commands(
    seen: HostSeen, layout: Layout, doing: str = "removing the copy"
) -> Iterator[HostAction]:
    """Yield the commands that remove the copy. An etcd that still runs on the copy is ended first."""
    end = ("sh", "-c", END_COPY_SERVER, "end-etcd", layout.versions, salvage_path(seen.data))
    yield RunCommand(end, doing)
    for directory in filter(None, (seen.data, seen.wal)):
        argv = remove_argv(layout, salvage_path(directory), ".part")
        yield RunCommand(argv, doing, timeout_s=COPY_TIMEOUT_S)
    yield RunCommand(remove_argv(layout, salvage_keys_path(layout)), doing)


def append_command(user: str, path: str, size: int, encoded: str) -> RunCommand:
    """Return the command that replaces everything after the first `size` bytes of a file of the copy."""
    argv = as_user(user, ("sh", "-c", APPEND, "append", path, str(size), encoded))
    return RunCommand(argv, "completing the log of the copy")


def serve_argv(seen: HostSeen, layout: Layout, lost_after_s: int, etcd: Sequence[str]) -> tuple[str, ...]:
    """Return the command that serves the copy while it receives bytes, and then removes it. `etcd` are flags."""
    folders = (salvage_path(seen.data), salvage_path(seen.wal) if seen.wal else "")
    words = (str(lost_after_s), layout.user, salvage_keys_path(layout), *folders, f"{layout.current}/etcd")
    return ("sh", "-c", SERVE, "etcdup-salvage", *words, *etcd)


def _steps(spec: Spec, observed: Observed, host: str, last: LastEntry, snapshot: str) -> Iterator[Step]:
    if running := still_running(spec, observed):
        reason = "the data of a running member cannot be copied; without a quorum no member accepts a write"
        yield StopMembers(
            hosts=running, reason=reason, rules=(1, 57), quorum="no effect: the quorum is already lost"
        )
    yield SalvageData(
        host=host, term=last.term, index=last.index, snapshot=snapshot,
        reason="the write-ahead log may have entries that the database file does not contain", rules=(55, 62, 68),
    )  # fmt: skip


def _refuse_unreachable(observed: Observed) -> tuple[Refused, ...]:
    return tuple(
        Refused(f"{name} cannot be reached: {gone.why}", gone.hint, name, (57, 62))
        for name, gone in observed.unreachable().items()
    )


def refuse_salvage(observed: Observed, host: str, size: int) -> tuple[Refused, ...]:
    """Refuse a salvage if the host has no etcd that can read the data, or no free space for a copy of it."""
    seen = observed.reachable()[host]
    if not seen.current:
        hint = (
            f"start the machine of another member, or put the etcd binaries back on {host}. Then run `etcdup recover` "
            f"again. {BACKUP_HINT}"
        )
        return (Refused(f"{host} has the data of a member and no etcd binary that can read it", hint, host),)
    if seen.data.free_bytes < size:
        free, need = show_size(seen.data.free_bytes), show_size(size)
        message = f"{host}: {seen.data.path} has {free} of free space, and a copy of its data needs {need}"
        other = (
            "Or pass `--without-copy`: the cluster is then rebuilt from the snapshot of a member that answers, without "
            f"the last entries of the log on {host}"
        )
        hint = (
            f"free disk space on {host}, then run the same command again: the snapshot is taken from a copy. "
            f"{other if observed.answering() else BACKUP_HINT}"
        )
        return (Refused(message, hint, host, (55, 62)),)
    return ()


def _logs_text(logs: Mapping[str, LastEntry]) -> str:
    shown = ", ".join(f"{name} (term {last.term}, index {last.index})" for name, last in sorted(logs.items()))
    if len(logs) > 1:
        return f"which has the newest log: {shown}"
    return f"the only data that etcdup can reach: {shown}"


def _why(name: str, observed: Observed) -> str:
    if gone := observed.unreachable().get(name):
        return gone.why
    seen = observed.members.get(name)
    return seen.why if isinstance(seen, MemberSilent) else ""


APPEND = """\
set -eu
truncate -s "$2" -- "$1"
printf %s "$3" | base64 -d >>"$1"
"""

# A process is ended only if it is an etcd that etcdup installed, and runs on the copy.
END_COPY_SERVER = """\
set -eu
for process in /proc/[0-9]*; do
  case $(readlink "$process/exe" 2>/dev/null) in "$1"/*) ;; *) continue ;; esac
  case " $(tr '\\0' ' ' <"$process/cmdline" 2>/dev/null)" in *" --data-dir=$2 "*) ;; *) continue ;; esac
  kill -KILL "${process##*/}" 2>/dev/null || :
  while [ -e "$process/exe" ]; do sleep 0.05; done
done
"""

# When the bytes that etcdup sends stop, this shell ends and ends etcd, whatever happened to etcdup and its connection.
# With `pdeathsig`, etcd ends even if this shell is killed.
SERVE = (
    RIGHTS
    + """\
set +e
lost=$1 keys=$3 data=$4 wal=$5
become "$2"
shift 5
case $(setpriv --help 2>&1) in *pdeathsig*) as="${as:-setpriv} --pdeathsig KILL" ;; esac
cd /
env -i PATH="$PATH" $as "$@" >"$keys/log" 2>&1 </dev/null &
etcd=$!
trap '' HUP INT TERM PIPE
runs() { readlink "/proc/$etcd/exe" >/dev/null 2>&1; }
while runs && [ "$(timeout -s KILL "$lost" head -c 1)" = . ]; do :; done
if runs; then
  kill -KILL "$etcd"
else
  echo ended
  timeout -s KILL "$lost" cat >/dev/null
fi
wait "$etcd"
for folder in "$keys" "$data" ${wal:+"$wal"}; do ( set -e; enter "${folder%/*}"; $by rm -rf -- "./${folder##*/}" ); done
"""
)
