"""The inspection: a read-only sh script that only `check` runs, because it takes longer than the probe.

It writes nothing, except with `--disk`: then it makes 100 small writes to a new file and removes the file. It does not
write if etcd runs or a member has data on the host (rule 91). A test is left out if its program (bash, ping, ip,
systemd-analyze) is missing, and `check` reports that.
"""

from collections.abc import Sequence

from etcdup.core.audit.findings import Disk, FileRights, HostInspection, LeaderChanges, PortProbe
from etcdup.core.audit.process_settings import process_settings
from etcdup.core.host.member_user import RIGHTS
from etcdup.core.observed.sections import sections_of
from etcdup.core.spec.layout import Layout

PORT_PROBE_S = 2
_YES_NO = {"yes": True, "no": False}
_COMPACTION_METRIC = "etcd_debugging_mvcc_db_compaction_last"
_DEFRAG_METRIC = "etcd_disk_backend_defrag_duration_seconds_count"
_LEADER_METRICS = ("etcd_server_leader_changes_seen_total", "process_start_time_seconds")

INSPECTION_SCRIPT = r"""
say() { printf '@%s\n' "$*"; }
LC_ALL=C; export LC_ALL
supervisor=$1 pid_file=$2 data=$3 wal=$4 try_disk=$5 probe_s=$6
shift 6
nearest() { near=$1; while [ ! -d "$near" ]; do near=${near%/*}; near=${near:-/}; done; }
pid=0
if [ "$supervisor" = systemd ]; then
  pid=$(systemctl show etcd.service --property=MainPID --value 2>/dev/null)
else
  read -r pid 2>/dev/null <"$pid_file" || pid=0
fi
[ -n "$pid" ] && [ -d "/proc/$pid" ] || pid=0
variables= arguments=
if [ "$pid" -gt 0 ]; then
  variables=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | while IFS= read -r line; do
    case $line in ETCD_*) printf '%s\n' "$line" ;; esac; done)
  arguments=$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null)
fi
# Print the value of a flag of the process. The last line counts: arguments win over variables (process_settings.py).
flag_value() {
  { printf '%s\n' "$variables" | while IFS= read -r line; do
      case $line in "ETCD_$2="*) printf '%s\n' "${line#*=}" ;; esac; done
    printf '%s\n' "$arguments" | { next=; while IFS= read -r word; do
      [ -z "$next" ] || printf '%s\n' "$word"; next=
      case $word in "--$1="*|"-$1="*) printf '%s\n' "${word#*=}" ;; "--$1"|"-$1") next=yes ;; esac; done; }
  } | tail -n 1
}
# The data directory of the running process. The one of cluster.yaml counts only if no process runs.
directory=$(flag_value data-dir DATA_DIR)
if [ -n "$directory" ]; then
  data=$directory wal=$(flag_value wal-dir WAL_DIR) from=$(readlink "/proc/$pid/cwd")
  case $data in /*) ;; *) data=$from/$data ;; esac
  case $wal in /*|'') ;; *) wal=$from/$wal ;; esac
fi
say arguments; printf '%s\n' "$arguments" | while IFS= read -r line; do printf '=%s\n' "$line"; done
say variables; printf '%s\n' "$variables"
say rights
{ printf '%s\n' "$variables" | while IFS='=' read -r name value; do
    case $name in *_FILE|*_DIR) printf '%s\n' "$value" ;; esac; done
  printf '%s\n' "$arguments" | { next=; while IFS= read -r word; do
    [ -z "$next" ] || printf '%s\n' "$word"; next=
    case $word in -*-file=*|-*-dir=*) printf '%s\n' "${word#*=}" ;; -*-file|-*-dir) next=yes ;; esac; done; }
} | sort -u | while IFS= read -r path; do
  [ -e "$path" ] || continue
  sum=-
  [ -f "$path" ] && { sum=$(sha256sum <"$path"); sum=${sum%% *}; }
  stat -L -c "%a %U:%G $sum %n" -- "$path"
done
say swap
while read -r name _; do [ "$name" = Filename ] || echo "$name"; done 2>/dev/null </proc/swaps
say disks
for directory in "$data" "$wal"; do
  [ -n "$directory" ] || continue
  nearest "$directory"
  echo "path $directory"
  echo "disk $(df -B1 --output=fstype,avail,source,target -- "$near" 2>/dev/null | tail -n 1)"
done
say fast-commits
case $(uname -r) in [0-4].*|5.[0-9].*|5.1[0-6].*)
  for directory in "$data" "$wal"; do
    [ -n "$directory" ] || continue
    nearest "$directory"
    device=$(df --output=source -- "$near" 2>/dev/null | tail -n 1)
    case " $(dumpe2fs -h "$device" 2>/dev/null | grep '^Filesystem features:') " in
      *" fast_commit "*) echo "$directory" ;; esac
  done ;;
esac
say units
[ "$supervisor" = systemd ] && systemctl list-units --plain --no-legend --state=active,activating 'etcd*.service' \
  2>/dev/null | while read -r name _; do [ "$name" = etcd.service ] || echo "$name"; done
# All network tests run at the same time. Each prints one line, so the lines of two tests cannot mix.
say network
tool=none; command -v bash >/dev/null && tool=bash
{ answer=$(timeout 2 timedatectl show --property=NTPSynchronized --value 2>/dev/null)
  case $answer in yes|no) ;; *)
    case $(timeout 2 chronyc -n tracking 2>/dev/null) in
      *"Leap status     : Not synch"*) answer=no ;; *"Leap status     : "*) answer=yes ;;
      *) answer=unknown ;; esac ;; esac
  echo "synchronised $answer"; } &
[ $# = 0 ] || for program in ping ip; do command -v $program >/dev/null || echo "missing $program"; done
for other in "$@"; do
  name=${other%%=*}; rest=${other#*=}; address=${rest%%,*}; ports=${rest#*,}
  route=$(ip -o route get "$address" 2>/dev/null) || route=
  case $route in *" src "*) route=${route##* src }; echo "source $name ${route%% *}" ;; esac
  if command -v ping >/dev/null; then
    { answer=$(ping -n -q -c 3 -i 0.2 -W 1 "$address" 2>/dev/null | tail -n 1)
      case $answer in *=*) answer=${answer#*= }; answer=${answer#*/}; echo "rtt $name ${answer%%/*}" ;; esac; } &
  fi
  for port in $(printf '%s' "$ports" | tr ',' ' '); do
    [ "$tool" = bash ] || { echo "port $name $port none"; continue; }
    { timeout "$probe_s" bash -c "exec 3<>/dev/tcp/$address/$port" >/dev/null 2>&1; end=$?
      # The exit status of bash is the same for "refused" and "no route". Only the message names the refusal.
      if [ "$end" = 1 ]; then
        case $(timeout "$probe_s" bash -c "exec 3<>/dev/tcp/$address/$port" 2>&1) in
          *refused*) end=0 ;; esac
      fi
      [ "$end" = 0 ] && end=open
      echo "port $name $port $end"; } &
  done
done
wait
say exposure
[ "$supervisor" = systemd ] && systemd-analyze security --no-pager etcd.service 2>/dev/null | tail -n 1
say fsyncs
if [ "$try_disk" = yes ]; then
  log=${wal:-$data}
  nearest "$log"
  member=
  for kept in "$data"/member "$log"/*.wal; do [ -e "$kept" ] && member=yes; done
  user=
  [ "$supervisor" = systemd ] && id -u etcd >/dev/null 2>&1 && user=etcd
  if [ "$pid" != 0 ]; then echo "untried etcd runs"
  elif [ -n "$member" ]; then echo "untried a member has data there"
  # The directory can belong to user etcd.
  elif (
    @RIGHTS@
    become "$user"
    enter "$near"
    exec $by sh -c '
      file=.etcdup-check-$$
      trap "rm -f $file" EXIT
      trap "exit 1" HUP INT TERM
      { set -C; true >"$file"; } 2>/dev/null || exit 1
      for _ in 1 2 3 4 5 6 7 8 9 10; do for _ in 1 2 3 4 5 6 7 8 9 10; do
        dd if=/dev/zero of="$file" bs=2300 count=1 oflag=append,dsync conv=notrunc 2>&1 | tail -n 1
      done; done'
  ); then :
  else echo "untried cannot write to $near"
  fi
fi
say end
""".replace("@RIGHTS@", RIGHTS)


def inspection_argv(
    layout: Layout, others: Sequence[tuple[str, str, Sequence[int]]], *, disk: bool
) -> tuple[str, ...]:
    """Return the command. `others` are the other hosts: name, address, and the ports to try."""
    targets = [f"{name}={address},{','.join(map(str, ports))}" for name, address, ports in others]
    return (
        "sh", "-c", INSPECTION_SCRIPT, "etcdup-inspect", layout.supervisor, layout.pid_file, layout.data_dir,
        layout.wal_dir or "", "yes" if disk else "no", str(PORT_PROBE_S), *targets,
    )  # fmt: skip


def parse_inspection(host: str, output: str) -> HostInspection:
    """Parse the output of the script. Raise ValueError if it is incomplete or not from the script."""
    sections = sections_of(filter(None, output.split("\n")))
    if "end" not in sections:
        raise ValueError("the output of the inspection is not complete")
    network = [line.split() for line in sections["network"]]
    argv = [line[1:] for line in sections["arguments"]]
    return HostInspection(
        host=host,
        settings=process_settings(argv, dict(v.split("=", 1) for v in sections["variables"] if "=" in v)),
        rights={each.path: each for each in map(_rights, sections["rights"])},
        swap=bool(sections["swap"]),
        disks=_disks(sections["disks"]),
        fast_commits=tuple(sections["fast-commits"]),
        other_units=tuple(sections["units"]),
        sources={line[1]: line[2] for line in network if line[0] == "source"},
        round_trips_ms={line[1]: float(line[2]) for line in network if line[0] == "rtt"},
        synchronised=next((_YES_NO.get(line[1]) for line in network if line[0] == "synchronised"), None),
        missing_programs=tuple(line[1] for line in network if line[0] == "missing"),
        port_probes=tuple(_port_probe(line) for line in network if line[0] == "port"),
        fsyncs_ms=tuple(_milliseconds(line) for line in sections["fsyncs"] if " s, " in line),
        writes_untried=next((line[8:] for line in sections["fsyncs"] if line.startswith("untried ")), ""),
        exposure=_exposure(sections["exposure"]),
    )


def _rights(line: str) -> FileRights:
    mode, owner, digest, path = line.split(" ", 3)
    return FileRights(path, int(mode, 8), owner, digest.removeprefix("-"))


def _disks(lines: list[str]) -> tuple[Disk, ...]:
    """Read two lines for each directory, its path and the output of df. Skip it if df printed nothing."""
    found = []
    for path, df_line in zip(lines[::2], lines[1::2], strict=True):
        words = df_line.split(None, 4)[1:]
        if len(words) == 4:
            found.append(Disk(path.removeprefix("path "), words[0], int(words[1]), words[2], words[3]))
    return tuple(found)


def _port_probe(line: list[str]) -> PortProbe:
    return PortProbe(line[1], int(line[2]), answered=line[3] == "open", has_tool=line[3] != "none")


def _milliseconds(line: str) -> float:
    """Read the time from dd: `2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000533 s, 4.3 MB/s`."""
    return float(line.split(" s, ")[0].rpartition(" ")[2]) * 1000


def _exposure(lines: list[str]) -> float | None:
    """Read the rating: `→ Overall exposure level for etcd.service: 1.9 OK :-)`."""
    rating = lines[-1].rpartition("etcd.service: ")[2].split() if lines else []
    try:
        return float(rating[0])
    except (IndexError, ValueError):
        return None


def parse_leaders(member: str, metrics: str, now: float) -> LeaderChanges:
    """Read the number of leader changes from the metrics of a member. `now` is in seconds since the epoch."""
    names = (*_LEADER_METRICS, _COMPACTION_METRIC, _DEFRAG_METRIC)
    lines = (line.partition(" ") for line in metrics.splitlines() if line.startswith(names))
    values = {name: value for name, _, value in lines}
    try:
        changes, started = (float(values[name]) for name in _LEADER_METRICS)
        # 0: there was none since the start.
        last = max(float(values[_COMPACTION_METRIC]), started) if _COMPACTION_METRIC in values else None
        compacted_s = None if last is None or last != last else now - last
        defrags = int(float(values.get(_DEFRAG_METRIC, "0")))
        return LeaderChanges(member, int(changes), now - started, compacted_s=compacted_s, defrags=defrags)
    except (KeyError, ValueError, OverflowError):  # infinity and `nan` are no numbers of changes
        return LeaderChanges(member, why="its metrics do not contain it")
