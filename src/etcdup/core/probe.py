"""How to look at a host: one read-only script, one round trip.

It needs sh and coreutils only; /proc and systemctl tell the rest. `parse.py` reads what it prints. Sections
begin with `@`; file contents are base64, so nothing in them can look like a section.
"""

from etcdup.core.layout import Layout

PROBE = r"""
say() { printf '@%s\n' "$*"; }
supervisor=$1 unit=$2 pid_file=$3 versions=$4 join=$5 data=$6 wal=$7 texts=$8 ports=$9
shift 9

say machine
id -u; uname -m; uname -n
cat /etc/machine-id 2>/dev/null || echo unknown
( . /etc/os-release 2>/dev/null; echo "${ID:-unknown}"; echo "${VERSION_ID:-unknown}" )
if id -u etcd >/dev/null 2>&1; then echo etcd-user; else echo no-user; fi
[ -e "$join" ] && echo joining || echo settled

pid=0
if [ "$supervisor" = systemd ]; then
  say systemd
  systemctl --version 2>/dev/null | { read -r _ number _ && echo "$number"; } || echo 0
  say unit
  shown=$(systemctl show etcd.service --property=LoadState,ActiveState,SubState,UnitFileState \
    --property=MainPID,NRestarts,NeedDaemonReload 2>/dev/null)
  printf '%s\n' "$shown"
  case $shown in *MainPID=*) pid=${shown##*MainPID=}; pid=${pid%%[!0-9]*} ;; esac
  say units
  systemctl list-units --plain --no-legend --state=active,activating 'etcd*.service' 2>/dev/null
elif read -r pid 2>/dev/null <"$pid_file"; then
  case $(readlink "/proc/$pid/exe" 2>/dev/null) in "$versions"/*) ;; *) pid=0 ;; esac
fi
say process
echo "${pid:=0}"
if [ "$pid" -gt 0 ]; then
  readlink "/proc/$pid/exe"
  tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null |
    while IFS= read -r line; do case $line in ETCD*) printf '%s\n' "$line" ;; esac; done
fi

directory() {
  say "dir $1"
  near=$1
  while [ ! -d "$near" ]; do near=${near%/*}; near=${near:-/}; done
  stat -f -c '%T %a %S' "$near"
  if [ -d "$1" ]; then
    stat -c '%a %U:%G' "$1"
    if [ "$(stat -c %d "$1")" = "$(stat -c %d "$1/..")" ]; then echo plain; else echo mount; fi
    ls -A "$1"
  fi
}
directory "$data"
[ -n "$wal" ] && directory "$wal"
say "room"
near=$versions
while [ ! -d "$near" ]; do near=${near%/*}; near=${near:-/}; done
stat -f -c '%a %S' "$near"

say versions
readlink "$versions/current" 2>/dev/null || echo none
ls "$versions" 2>/dev/null

say listening
for table in /proc/net/tcp /proc/net/tcp6; do
  while read -r _ local _ state _ _ _ _ _ inode _; do
    [ "$state" = 0A ] || continue
    port=$((0x${local##*:}))
    case " $ports " in *" $port "*) ;; *) continue ;; esac
    owner='0 '
    for process in "/proc/$pid" /proc/[0-9]*; do
      case $(ls -l "$process/fd" 2>/dev/null) in
        *"socket:[$inode]"*) owner="${process#/proc/} $(cat "$process/comm")"; break ;;
      esac
    done
    echo "$port $owner"
  done <"$table" 2>/dev/null
done

say sums
sha256sum -- "$@" 2>/dev/null
say stats
stat -c '%a %U:%G %n' -- "$@" 2>/dev/null
for file in $texts; do
  [ -f "$file" ] || continue
  say "text $file"
  base64 -w0 <"$file"; echo
done
say clock
date +%s.%N
"""


def text_files(layout: Layout) -> tuple[str, ...]:
    """Files without secrets, whose content is read so that a plan can show a diff."""
    return (layout.conf, layout.unit, layout.marker, layout.sysusers)


def probe_argv(layout: Layout, files: tuple[str, ...], ports: tuple[int, ...]) -> tuple[str, ...]:
    """The command that looks at a host. `files` are hashed, `ports` looked for among the listening ones."""
    return (
        "sh", "-c", PROBE, "etcdup-probe", layout.supervisor, layout.unit, layout.pid_file, layout.versions,
        layout.join, layout.data_dir, layout.wal_dir or "", " ".join(text_files(layout)),
        " ".join(str(port) for port in ports), *text_files(layout), *files,
    )  # fmt: skip
