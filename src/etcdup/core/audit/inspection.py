"""A closer look at a host than the probe's: for `check` alone, which may take its time. One sh script, read-only.

It writes nothing unless it is told to try the disk; then 100 small writes go to a file of their own, which it removes,
and never beside a running etcd or a member's data (rule 91). What a host lacks (bash, ping, ip, systemd-analyze)
is left out, and `check` says so.
"""

from collections.abc import Sequence

from etcdup.core.audit.findings import Disk, FileRights, HostInspection, LeaderChanges, PortProbe
from etcdup.core.audit.process_settings import process_settings
from etcdup.core.spec.layout import Layout

PORT_PROBE_S = 2
_YES_NO = {"yes": True, "no": False}
_LEADER_METRICS = ("etcd_server_leader_changes_seen_total", "process_start_time_seconds")

INSPECTION_SCRIPT = r"""
say() { printf '@%s\n' "$*"; }
LC_ALL=C; export LC_ALL
supervisor=$1 pid_file=$2 data=$3 wal=$4 try_disk=$5 knock_s=$6
shift 6
nearest() { near=$1; while [ ! -d "$near" ]; do near=${near%/*}; near=${near:-/}; done; }
pid=0
if [ "$supervisor" = systemd ]; then
  pid=$(systemctl show etcd.service --property=MainPID --value 2>/dev/null)
else
  read -r pid 2>/dev/null <"$pid_file" || pid=0
fi
[ -n "$pid" ] && [ -d "/proc/$pid" ] || pid=0
variables= words=
if [ "$pid" -gt 0 ]; then
  variables=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | while IFS= read -r line; do
    case $line in ETCD_*) printf '%s\n' "$line" ;; esac; done)
  words=$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null)
fi
# What the process was told by this flag: the last line is its word, for arguments win (running.py).
told() {
  { printf '%s\n' "$variables" | while IFS= read -r line; do
      case $line in "ETCD_$2="*) printf '%s\n' "${line#*=}" ;; esac; done
    printf '%s\n' "$words" | { next=; while IFS= read -r word; do
      [ -z "$next" ] || printf '%s\n' "$word"; next=
      case $word in "--$1="*|"-$1="*) printf '%s\n' "${word#*=}" ;; "--$1"|"-$1") next=yes ;; esac; done; }
  } | tail -n 1
}
# Where it really keeps its data; only where none runs does cluster.yaml's word count.
place=$(told data-dir DATA_DIR)
if [ -n "$place" ]; then
  data=$place wal=$(told wal-dir WAL_DIR) from=$(readlink "/proc/$pid/cwd")
  case $data in /*) ;; *) data=$from/$data ;; esac
  case $wal in /*|'') ;; *) wal=$from/$wal ;; esac
fi
say words; printf '%s\n' "$words" | while IFS= read -r line; do printf '=%s\n' "$line"; done
say variables; printf '%s\n' "$variables"
say rights
{ printf '%s\n' "$variables" | while IFS='=' read -r name value; do
    case $name in *_FILE|*_DIR) printf '%s\n' "$value" ;; esac; done
  printf '%s\n' "$words" | { next=; while IFS= read -r word; do
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
for place in "$data" "$wal"; do
  [ -n "$place" ] || continue
  nearest "$place"
  echo "path $place"
  echo "disk $(df -B1 --output=fstype,avail,source,target -- "$near" 2>/dev/null | tail -n 1)"
done
say units
[ "$supervisor" = systemd ] && systemctl list-units --plain --no-legend --state=active,activating 'etcd*.service' \
  2>/dev/null | while read -r name _; do [ "$name" = etcd.service ] || echo "$name"; done
# What waits for the network waits for all of it at once; each answer is one line, and so comes whole.
say network
tool=none; command -v bash >/dev/null && tool=bash
{ said=$(timeout 2 timedatectl show --property=NTPSynchronized --value 2>/dev/null)
  case $said in yes|no) ;; *)
    case $(timeout 2 chronyc -n tracking 2>/dev/null) in
      *"Leap status     : Not synch"*) said=no ;; *"Leap status     : "*) said=yes ;; *) said=unknown ;; esac ;; esac
  echo "synchronised $said"; } &
[ $# = 0 ] || for program in ping ip; do command -v $program >/dev/null || echo "lacks $program"; done
for other in "$@"; do
  name=${other%%=*}; rest=${other#*=}; address=${rest%%,*}; ports=${rest#*,}
  route=$(ip -o route get "$address" 2>/dev/null) || route=
  case $route in *" src "*) route=${route##* src }; echo "source $name ${route%% *}" ;; esac
  if command -v ping >/dev/null; then
    { said=$(ping -n -q -c 3 -i 0.2 -W 1 "$address" 2>/dev/null | tail -n 1)
      case $said in *=*) said=${said#*= }; said=${said#*/}; echo "rtt $name ${said%%/*}" ;; esac; } &
  fi
  for port in $(printf '%s' "$ports" | tr ',' ' '); do
    [ "$tool" = bash ] || { echo "knock $name $port none"; continue; }
    { timeout "$knock_s" bash -c "exec 3<>/dev/tcp/$address/$port" >/dev/null 2>&1; end=$?
      # bash cannot tell a refusal from no way there by its status; a refusal comes at once and says so.
      if [ "$end" = 1 ]; then
        case $(timeout "$knock_s" bash -c "exec 3<>/dev/tcp/$address/$port" 2>&1) in
          *refused*) end=0 ;; esac
      fi
      [ "$end" = 0 ] && end=open
      echo "knock $name $port $end"; } &
  done
done
wait
say exposure
[ "$supervisor" = systemd ] && systemd-analyze security --no-pager etcd.service 2>/dev/null | tail -n 1
say fsyncs
if [ "$try_disk" = yes ]; then
  log=${wal:-$data}
  nearest "$log"
  file="$near/.etcdup-check-$$" member=
  for kept in "$data"/member "$log"/*.wal; do [ -e "$kept" ] && member=yes; done
  trap 'rm -f "$file"' EXIT
  trap 'exit 1' HUP INT TERM
  if [ "$pid" != 0 ]; then echo "untried etcd runs"
  elif [ -n "$member" ]; then echo "untried a member's data are there"
  elif { true >"$file"; } 2>/dev/null; then
    for _ in 1 2 3 4 5 6 7 8 9 10; do for _ in 1 2 3 4 5 6 7 8 9 10; do
      dd if=/dev/zero of="$file" bs=2300 count=1 oflag=append,dsync conv=notrunc 2>&1 | tail -n 1
    done; done
  else echo "untried $near takes no file"
  fi
fi
say end
"""


def inspection_argv(
    layout: Layout, others: Sequence[tuple[str, str, Sequence[int]]], *, disk: bool
) -> tuple[str, ...]:
    """The command. `others` are the other hosts: name, address, ports to knock at."""
    places = [f"{name}={address},{','.join(map(str, ports))}" for name, address, ports in others]
    return (
        "sh", "-c", INSPECTION_SCRIPT, "etcdup-look", layout.supervisor, layout.pid_file, layout.data_dir,
        layout.wal_dir or "", "yes" if disk else "no", str(PORT_PROBE_S), *places,
    )  # fmt: skip


def parse_inspection(host: str, output: str) -> HostInspection:
    """Raises ValueError where the output is not the script's own, or not all of it."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith("@"):
            lines = sections.setdefault(line[1:], [])
        elif line:
            lines.append(line)
    if "end" not in sections:
        raise ValueError("the answer to the closer look is not whole")
    network = [line.split() for line in sections["network"]]
    words = [line[1:] for line in sections["words"]]
    return HostInspection(
        host=host,
        settings=process_settings(words, dict(v.split("=", 1) for v in sections["variables"] if "=" in v)),
        rights={each.path: each for each in map(_rights, sections["rights"])},
        swap=bool(sections["swap"]),
        disks=_disks(sections["disks"]),
        other_units=tuple(sections["units"]),
        sources={line[1]: line[2] for line in network if line[0] == "source"},
        round_trips_ms={line[1]: float(line[2]) for line in network if line[0] == "rtt"},
        synchronised=next((_YES_NO.get(line[1]) for line in network if line[0] == "synchronised"), None),
        missing_programs=tuple(line[1] for line in network if line[0] == "lacks"),
        port_probes=tuple(_port_probe(line) for line in network if line[0] == "knock"),
        fsyncs_ms=tuple(_milliseconds(line) for line in sections["fsyncs"] if " s, " in line),
        writes_untried=next((line[8:] for line in sections["fsyncs"] if line.startswith("untried ")), ""),
        exposure=_exposure(sections["exposure"]),
    )


def _rights(line: str) -> FileRights:
    mode, owner, digest, path = line.split(" ", 3)
    return FileRights(path, int(mode, 8), owner, digest.removeprefix("-"))


def _disks(lines: list[str]) -> tuple[Disk, ...]:
    """Two lines a folder: its path, and what df says. Where df says nothing there is nothing to tell."""
    found = []
    for path, said in zip(lines[::2], lines[1::2], strict=True):
        words = said.split(None, 4)[1:]
        if len(words) == 4:
            found.append(Disk(path.removeprefix("path "), words[0], int(words[1]), words[2], words[3]))
    return tuple(found)


def _port_probe(line: list[str]) -> PortProbe:
    return PortProbe(line[1], int(line[2]), answered=line[3] == "open", has_tool=line[3] != "none")


def _milliseconds(line: str) -> float:
    """`2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000533 s, 4.3 MB/s`."""
    return float(line.split(" s, ")[0].rpartition(" ")[2]) * 1000


def _exposure(lines: list[str]) -> float | None:
    """`→ Overall exposure level for etcd.service: 1.9 OK :-)`."""
    said = lines[-1].rpartition("etcd.service: ")[2].split() if lines else []
    try:
        return float(said[0])
    except (IndexError, ValueError):
        return None


def parse_leaders(member: str, metrics: str, now: float) -> LeaderChanges:
    """From a member's metrics. `now` is in seconds since the epoch."""
    values = dict(line.split(" ", 1) for line in metrics.splitlines() if line.startswith(_LEADER_METRICS))
    try:
        changes, began = (float(values[name]) for name in _LEADER_METRICS)
    except (KeyError, ValueError):
        return LeaderChanges(member, why="its metrics do not tell")
    return LeaderChanges(member, int(changes), now - began)
