"""The data of a member as far as its log goes: a snapshot off a copy of it, by an etcd that nobody else can speak to.

A member that was started anew without a quorum, or that is stopped, answers nobody and has on its disk all that it
ever had (rule 68). One that answers may have entries in its log that it never heard to be committed, and that clients
were told of as written. `db` alone may lack what stands in the log, and has no checksum (rule 55). So the member is
stopped, its data is copied, and the host's own etcd serves the copy to etcdup for as long as a snapshot takes.

That etcd is made a cluster of one by `--force-new-cluster`. What rules 63 to 66 say against it is about members that
go on. This one listens on loopback alone, with keys that no member and no client takes, so that it meets nobody; and
what releases before 3.5.25 and 3.6.6 leave in its member list is not in what is restored from its snapshot.
"""

from collections.abc import Iterator, Mapping, Sequence

from etcdup.core.etcd.wal import LastEntry
from etcdup.core.host.actions import HostAction, RunCommand
from etcdup.core.observed.model import ASIDE_PREFIX, DirSeen, HostSeen, MemberSilent, Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import SalvageData, StopMembers
from etcdup.core.plan.step import Step
from etcdup.core.restore.data_copy import COPY_SCRIPT, COPY_TIMEOUT_S, SIZE_SCRIPT
from etcdup.core.restore.stopped_check import still_running
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

BACKUP_HINT = "The newest backup is what there is without it: `etcdup backup list`, `etcdup restore`"


def salvageable_hosts(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Hosts of cluster.yaml within reach that have a member's data of this very cluster."""
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) and seen.has_member
        and seen.marker is not None and seen.marker.cluster == spec.name
    )  # fmt: skip


def newest_log(logs: Mapping[str, LastEntry]) -> str:
    """The host whose log has every committed entry that any of them has. The state of each is what its log makes it, so
    that neither a revision nor how much was applied says more."""
    return max(sorted(logs), key=lambda name: logs[name])


def plan_salvage(
    spec: Spec,
    observed: Observed,
    host: str,
    last: LastEntry,
    snapshot: str,
    size: int,
    told: Sequence[str],
) -> Plan | Refusal:
    """`spec` is of that host alone, as for a recovery; `size` is what a copy of its data takes, in bytes; `snapshot`
    the file that is made on the operator's machine."""
    if reasons := _refuse_unreachable(observed) or _refuse_salvage(observed, host, size):
        return Refusal(spec.name, reasons)
    return Plan(spec.name, tuple(_steps(spec, observed, host, last, snapshot)), tuple(told))


def salvage_notes(spec: Spec, observed: Observed, logs: Mapping[str, LastEntry]) -> tuple[str, ...]:
    """What the operator is told before anything is stopped. `spec` is the whole cluster's."""
    answer = observed.answering()
    why = "; ".join(
        f"{host.name}: {_why(host.name, observed)}" for host in spec.hosts if host.name not in answer
    )
    first = (
        "a log goes further than what the members that answer have applied, and clients may have been told of its end "
        "as written: the data is taken off a disk"
        if answer
        else f"no member answers, so that its data is taken off a disk ({why})"
    )
    return (
        first,
        f"the data of {newest_log(logs)} is taken, {_logs_text(logs)}",
        "it is only read: a copy is served to etcdup alone for as long as a snapshot takes, and goes again. The plan "
        "that rebuilds the cluster from it is shown after that",
    )


def salvage_path(directory: DirSeen) -> str:
    """Where the copy is, for a while: beside the folder, or inside a mount point, where what begins so counts as
    nobody's data."""
    return f"{directory.path}/{ASIDE_PREFIX}salvage" if directory.mount else f"{directory.path}.salvage"


def salvage_keys_path(layout: Layout) -> str:
    """On tmpfs: keys for this one use are never on a disk."""
    return f"{layout.run}/salvage"


def wal_path(seen: HostSeen, *, copied: bool = False) -> str:
    """The folder of the member's log, or of the copy's."""
    if seen.wal is not None:
        return salvage_path(seen.wal) if copied else seen.wal.path
    return f"{salvage_path(seen.data) if copied else seen.data.path}/member/wal"


def salvage_size_argv(seen: HostSeen) -> tuple[str, ...]:
    """A read-only command that says how many KiB the copy takes."""
    pairs = []
    for directory in filter(None, (seen.data, seen.wal)):
        pairs += [f"{directory.path}/member" if directory.mount else directory.path, salvage_path(directory)]
    return ("sh", "-c", SIZE_SCRIPT, "size", *pairs)


def copy_commands(seen: HostSeen, layout: Layout) -> Iterator[HostAction]:
    """The member is stopped by then. Begun again from its start: a copy that was left is not taken for this one."""
    doing = "copying its data, for a snapshot"
    yield from clear_copy_commands(seen, layout, doing)
    for directory in filter(None, (seen.data, seen.wal)):
        where = "mount" if directory.mount else "folder"
        argv = ("sh", "-c", COPY_SCRIPT, "copy", directory.path, salvage_path(directory), where)
        yield RunCommand(argv, doing, timeout_s=COPY_TIMEOUT_S)
    by_etcd = ("-o", "etcd", "-g", "etcd") if layout.supervisor == "systemd" else ()
    yield RunCommand(("mkdir", "-p", layout.run), doing)
    yield RunCommand(("install", "-d", "-m", "0700", *by_etcd, salvage_keys_path(layout)), doing)


def clear_copy_commands(
    seen: HostSeen, layout: Layout, doing: str = "removing the copy"
) -> Iterator[HostAction]:
    """An etcd on the copy that outlived its etcdup ends first."""
    folders = [salvage_path(each) for each in (seen.data, seen.wal) if each]
    argv = ("sh", "-c", CLEAR, "clear", layout.versions, *folders, salvage_keys_path(layout))
    yield RunCommand(argv, doing, timeout_s=COPY_TIMEOUT_S)


def last_log_argv(folder: str, back: int) -> tuple[str, ...]:
    """A read-only command that prints the name of the log's last file, or of one so many before it, and its bytes."""
    return ("sh", "-c", LAST_LOG, "last-log", folder, str(back))


def append_command(path: str, size: int, encoded: str) -> RunCommand:
    """Puts bytes in the place of all that is behind the first `size` of a file."""
    argv = ("sh", "-c", APPEND, "append", path, str(size), encoded)
    return RunCommand(argv, "closing the copy's log")


def serve_argv(seen: HostSeen, layout: Layout, lost_after_s: int, etcd: Sequence[str]) -> tuple[str, ...]:
    """Serves the copy for as long as bytes come, and then removes it. `etcd` are flags."""
    user = "etcd" if layout.supervisor == "systemd" else ""
    folders = (salvage_path(seen.data), salvage_path(seen.wal) if seen.wal else "")
    words = (str(lost_after_s), user, salvage_keys_path(layout), *folders, f"{layout.current}/etcd")
    return ("sh", "-c", SERVE, "etcdup-salvage", *words, *etcd)


def _steps(spec: Spec, observed: Observed, host: str, last: LastEntry, snapshot: str) -> Iterator[Step]:
    if running := still_running(spec, observed):
        reason = "what runs cannot be copied; without a quorum none of them takes a write"
        yield StopMembers(hosts=running, reason=reason, rules=(1, 57), quorum="none: there is no quorum")
    yield SalvageData(
        host=host, term=last.term, index=last.index, snapshot=snapshot,
        reason="its log has what the database alone may lack", rules=(55, 62, 68),
    )  # fmt: skip


def _refuse_unreachable(observed: Observed) -> tuple[Refused, ...]:
    return tuple(
        Refused(f"{name} cannot be reached: {gone.why}", gone.hint, name, (57, 62))
        for name, gone in observed.unreachable().items()
    )


def _refuse_salvage(observed: Observed, host: str, size: int) -> tuple[Refused, ...]:
    seen = observed.reachable()[host]
    if not seen.current:
        hint = f"bring another member's machine up, or put its etcd back. {BACKUP_HINT}"
        return (Refused(f"{host} has data of a member and no etcd that could read it", hint, host),)
    if seen.data.free_bytes < size:
        free, need = show_size(seen.data.free_bytes), show_size(size)
        message = (
            f"no space on {host} for a copy of its data: {seen.data.path} has {free} free, {need} are needed"
        )
        other = "`--without-copy` goes on from a survivor's snapshot, without the end of that log"
        hint = f"make room there: a snapshot is taken off a copy. {other if observed.answering() else BACKUP_HINT}"
        return (Refused(message, hint, host, (55, 62)),)
    return ()


def _logs_text(logs: Mapping[str, LastEntry]) -> str:
    shown = ", ".join(f"{name} (term {last.term}, index {last.index})" for name, last in sorted(logs.items()))
    return f"whose log goes furthest: {shown}" if len(logs) > 1 else f"all that is within reach: {shown}"


def _why(name: str, observed: Observed) -> str:
    if gone := observed.unreachable().get(name):
        return gone.why
    seen = observed.members.get(name)
    return seen.why if isinstance(seen, MemberSilent) else ""


LAST_LOG = """\
set -eu
back=$2
set -- "$1"/*.wal
[ $# -gt "$back" ] || { echo "no such file of a log: $1" >&2; exit 1; }
shift $(($# - back - 1))
[ -f "$1" ] || { echo "no log: $1" >&2; exit 1; }
echo "${1##*/}"
gzip -c -1 -- "$1" | base64 -w 0
"""

APPEND = """\
set -eu
truncate -s "$2" -- "$1"
printf %s "$3" | base64 -d >>"$1"
"""

# A process is ended only if it is etcd from our own folder, and runs on the copy.
CLEAR = """\
set -eu
versions=$1
shift
for process in /proc/[0-9]*; do
  case $(readlink "$process/exe" 2>/dev/null) in "$versions"/*) ;; *) continue ;; esac
  case " $(tr '\\0' ' ' <"$process/cmdline" 2>/dev/null)" in *" --data-dir=$1 "*) ;; *) continue ;; esac
  kill -KILL "${process##*/}" 2>/dev/null || :
  while [ -e "$process/exe" ]; do sleep 0.05; done
done
for folder in "$@"; do rm -rf -- "$folder" "$folder.part"; done
"""

# Without the bytes that etcdup sends it ends, and etcd with it, whatever becomes of etcdup and its connection; with
# `pdeathsig` also where this shell is killed.
SERVE = """\
set -u
lost=$1 user=$2 keys=$3 data=$4 wal=$5
shift 5
as=
if [ -n "$user" ]; then as="setpriv --reuid=$(id -u "$user") --regid=$(id -g "$user") --clear-groups"; fi
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
rm -rf -- "$keys" "$data" ${wal:+"$wal"}
"""
