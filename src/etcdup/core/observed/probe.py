"""The probe: one read-only shell script that observes a host in one round trip.

It needs only sh and coreutils; it reads /proc and calls systemctl. `parse_probe.py` parses its output. A section begins
with `@`. Each line that a user other than root can choose begins with `=`, so it is never read as a section: the
content of files, the names in directories of etcd, and the names and paths of programs. The script starts as few
programs as possible, to put little load on the host.
"""

from etcdup.core.spec.layout import Layout

PROBE = r"""
say() { printf '@%s\n' "$*"; }
line_of() { line=; IFS= read -r line 2>/dev/null <"$1" || [ -n "$line" ] || line=unknown; printf '%s\n' "$line"; }
quoted() {
  count=0
  while [ "$count" -lt 2000 ] && { IFS= read -r line || [ -n "$line" ]; }; do
    printf '=%s\n' "$line"
    count=$((count + 1))
  done
}
nearest() { near=$1; while [ ! -d "$near" ]; do near=${near%/*}; near=${near:-/}; done; }
# The mount point of a directory. `stat -c %m` does not show the mount of a directory of the same file system.
mount_of() { df --output=target -- "$1" 2>/dev/null | tail -n +2; }
# Return whether the mount point $2 has the option $1. In the list of mounts, a space is `\040`.
has_option() {
  coded= rest=$2
  while case $rest in *' '*) ;; *) false ;; esac; do coded=$coded${rest%% *}'\040'; rest=${rest#* }; done
  case $(grep -F -e " $coded$rest " /proc/self/mounts | tail -n 1) in *[\ ,]"$1"[\ ,]*) ;; *) false ;; esac
}
supervisor=$1 unit=$2 pid_file=$3 versions=$4 join=$5 data=$6 wal=$7 texts=$8 ports=$9
marker=${texts##* }
shift 9
fence_disabled=$1 folders=$2 links=$3 programs=$4 listen=$5
shift 5

say machine
id -u; uname -m
line_of /proc/sys/kernel/hostname
line_of /etc/machine-id
line_of /proc/sys/kernel/random/boot_id
distribution=unknown release=unknown
while IFS='=' read -r name value; do
  value=${value#[\"\']}; value=${value%[\"\']}
  case $name in ID) distribution=$value ;; VERSION_ID) release=$value ;; esac
done 2>/dev/null </etc/os-release
printf '%s\n' "$distribution" "$release"
if id -u etcd >/dev/null 2>&1; then echo etcd-user; else echo no-user; fi
[ -e "$join" ] && echo joining || echo settled
[ -d "${marker%/*}/unproved" ] && echo unproved || echo proved
[ -e "$fence_disabled" ] && echo unfenced || echo fenced

say missing-programs
for each in $programs; do command -v "$each" >/dev/null 2>&1 || echo "$each"; done
say ports
line_of /proc/sys/net/ipv4/ip_unprivileged_port_start
has_address() {
  case $1 in
    *.*) grep -A 1 -e "|-- $1\$" /proc/net/fib_trie ;;
    *) grep -e "^$1 " /proc/net/if_inet6 && echo LOCAL ;;
  esac
}
[ -n "$listen" ] && [ "$(line_of /proc/sys/net/ipv4/ip_nonlocal_bind)" != 1 ] && [ -r /proc/net/fib_trie ] &&
  command -v grep >/dev/null &&
  case $(has_address "$listen" 2>/dev/null) in *LOCAL*) ;; *) echo no-address ;; esac

pid=0
if [ "$supervisor" = systemd ]; then
  say systemd
  [ -d /run/systemd/system ] && echo 1 || echo 0
  show_unit() {
    systemctl show etcd.service --property=LoadState,ActiveState,SubState,UnitFileState \
      --property=MainPID,NRestarts,NeedDaemonReload,InvocationID,Job 2>/dev/null
  }
  shown=$(show_unit)
  case $shown in *Job=[1-9]*)
    say jobs
    systemctl list-jobs --no-legend --plain --full 2>/dev/null
    say after
    systemctl show etcd.service --property=After 2>/dev/null
    # A start can leave the queue meanwhile. Its earlier state `inactive` would look like a start that failed.
    shown=$(show_unit) ;;
  esac
  say unit
  printf '%s\n' "$shown"
  case $shown in *MainPID=*) pid=${shown##*MainPID=}; pid=${pid%%[!0-9]*} ;; esac
  say drop-ins
  named=
  for each in /etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system \
    /lib/systemd/system; do
    for file in "$each"/etcd.service.d/*.conf "$each"/service.d/*.conf; do
      # A file of the same name in an earlier directory replaces this one. An empty file only hides others.
      case " $named " in *" ${file##*/} "*) continue ;; esac
      [ -e "$file" ] && named="$named ${file##*/}"
      [ ! -s "$file" ] || { printf '%s\n' "drop-in $file"; quoted <"$file"; }
    done
  done
  say manager
  [ "$pid" -gt 0 ] || systemctl show-environment 2>/dev/null |
    while IFS= read -r line; do case $line in ETCD*=*) printf '%s\n' "${line%%=*}" ;; esac; done
  say units
  # Only hosts without a marker are searched for other etcd units. A host with a marker was searched before it got one.
  [ -e "$marker" ] || systemctl list-units --plain --no-legend --state=active,activating 'etcd*.service' 2>/dev/null
elif read -r pid 2>/dev/null <"$pid_file"; then
  case $(readlink "/proc/$pid/exe" 2>/dev/null) in "$versions"/*) ;; *) pid=0 ;; esac
fi
say process
echo "${pid:=0}"
if [ "$pid" -gt 0 ]; then
  readlink "/proc/$pid/exe" | quoted
  tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null |
    while IFS= read -r line; do case $line in ETCD*) printf '%s\n' "$line" ;; esac; done
fi

directory() {
  say "dir $1"
  nearest "$1"
  stat -f -c '%T %a %S' "$near"
  [ -d "$1" ] || return
  # The device numbers of the directory and of its parent differ if a file system is mounted there. They are equal if a
  # directory of the same file system is.
  stat -c '%a %U:%G %d' "$1"
  if grep -q -F -e " $1 " /proc/self/mounts 2>/dev/null; then echo mounted; else stat -c %d "$1/.."; fi
  log=no-wal
  for file in "$1"/member/wal/*.wal "$1"/*.wal; do [ -e "$file" ] && log=wal; done
  echo "$log"
  ls -Aq "$1" | quoted # -q prints `?` for a character that is not printable, for example a line break
}
directory "$data"
[ -z "$wal" ] || directory "$wal"
say archives
for place in "${marker%/*}" "$data" "$wal"; do
  [ -n "$place" ] || continue
  for each in "$place".aside-* "$place".cold-* "$place"/aside-*; do
    [ ! -d "$each" ] || [ -L "$each" ] || printf '%s\n' "$each"
  done
done | quoted
say free-space
nearest "$versions"
stat -f -c '%a %S' "$near"

say path-faults
for each in "$data" "$wal"; do
  [ -z "$each" ] || [ ! -L "$each" ] || printf '%s\n' "link $each $(readlink -m -- "$each")"
done
# A host with a marker is checked for the rest only while etcd does not run: a mount can have changed since its start.
if [ "$supervisor" = systemd ] && { [ ! -e "$marker" ] || [ "$pid" -eq 0 ]; }; then
  nears=
  for each in "${unit%/*}" "${marker%/*}" "$versions" "${join%/*}" "$data" $wal; do
    near=$each
    while [ ! -d "$near" ]; do
      if [ -e "$near" ] || [ -L "$near" ]; then printf '%s\n' "not-directory $each $near"; fi
      near=${near%/*}; near=${near:-/}
    done
    nears="$nears $near"
    [ -w "$near" ] && continue
    on=$(mount_of "$near")
    if has_option ro "$on"; then printf '%s\n' "read-only $each $on"; else printf '%s\n' "unwritable $each $near"; fi
  done
  [ ! -e "$versions/current" ] || [ -L "$versions/current" ] || printf '%s\n' "not-link $versions/current"
  for each in "$versions"/*; do
    [ ! -d "$each" ] || [ -L "$each" ] || [ -x "$each/etcd" ] || printf '%s\n' "no-etcd $each"
  done
  nearest "$versions"
  on=$(mount_of "$near")
  if has_option noexec "$on"; then printf '%s\n' "noexec $versions $on"; fi
  for each in etcd etcdctl etcdutl; do
    case $(readlink -- "$links/$each") in "$versions"/*) continue ;; esac
    if [ -e "$links/$each" ] || [ -L "$links/$each" ]; then printf '%s\n' "foreign $links/$each"; fi
  done
  user=$(id -u etcd 2>/dev/null)
  case $user in
    '')
      for each in /etc/passwd /etc/group /etc/shadow /etc/gshadow; do
        # Root cannot write a file that is immutable, or on a read-only mount.
        [ ! -e "$each" ] || [ -w "$each" ] || printf '%s\n' "locked $each"
      done ;;
    0) echo 'root-user etcd' ;;
    *)
      owner=$(id -un -- "$user" 2>/dev/null)
      [ "${owner:-etcd}" = etcd ] || printf '%s\n' "shared-user etcd $owner" ;;
  esac
  # The unit is 512 bytes in dash, and 1024 bytes in bash. The programs of etcd have 30 MB each.
  size=$(ulimit -f 2>/dev/null)
  case $size in
    '' | *[!0-9]*) ;;
    *) [ "$size" -ge 131072 ] || printf '%s\n' "file-limit $size" ;;
  esac
  say spaces
  stat -f -c '%a %S %c %d' -- $nears
fi

say versions
readlink "$versions/current" 2>/dev/null || echo none
for folder in "$versions"/*; do [ -f "$folder/etcd" ] && echo "${folder##*/}"; done

say listening
# While our etcd runs, it uses the ports itself. Other users of the ports matter only before it starts.
# cat is used because sh reads a file byte by byte, and the kernel generates the whole table for each read.
[ "$pid" -gt 0 ] || cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ local _ state _ _ _ _ _ inode _; do
  [ "$state" = 0A ] || continue
  port=$((0x${local##*:}))
  case " $ports " in *" $port "*) ;; *) continue ;; esac
  owner='0 ='
  for process in /proc/[0-9]*; do
    case $(ls -l "$process/fd" 2>/dev/null) in
      *"socket:[$inode]"*)
        # A program can choose its name, with line breaks and backslashes. Only the first line is printed, as it is.
        name=
        read -r name 2>/dev/null <"$process/comm"
        owner="${process#/proc/} =$name"
        break ;;
    esac
  done
  printf '%s\n' "$port $owner"
done

say folders
stat -L -c '%a %U:%G %n' -- $folders 2>/dev/null

say sums
sha256sum -- "$@" 2>/dev/null
say stats
stat -c '%a %U:%G %n' -- "$@" 2>/dev/null
for file in $texts; do
  [ -f "$file" ] || continue
  say "text $file"
  quoted <"$file"
done
say clock
date +%s.%N
"""


def text_files(layout: Layout) -> tuple[str, ...]:
    """Return the files without secrets, whose content is read for the diffs of a plan. The marker is the last one."""
    return (layout.conf, layout.unit, layout.sysusers, layout.generation, layout.marker)


def written_folders(layout: Layout) -> tuple[str, ...]:
    """Return the directories whose free space is observed on a host without a marker, in the order of the script."""
    unit, etc, run = (path.rpartition("/")[0] for path in (layout.unit, layout.marker, layout.join))
    return (unit, etc, layout.versions, run, layout.data_dir, *filter(None, (layout.wal_dir,)))


def probe_argv(
    layout: Layout,
    files: tuple[str, ...],
    ports: tuple[int, ...],
    folders: tuple[str, ...] = (),
    programs: tuple[str, ...] = (),
    listen: str = "",
) -> tuple[str, ...]:
    """Return the command that observes a host.

    It hashes `files`, reads the rights of `folders`, and reports which of `ports` are in use, and which of `programs`
    are missing. `listen` is from `listen_pattern`.
    """
    texts = text_files(layout)
    paths = (
        layout.unit,
        layout.pid_file,
        layout.versions,
        layout.join,
        layout.data_dir,
        layout.wal_dir or "",
    )
    arguments = (
        layout.supervisor, *paths, " ".join(texts), " ".join(map(str, ports)), layout.fence_disabled,
        " ".join(folders),
        layout.links or "", " ".join(programs), listen,
    )  # fmt: skip
    return ("sh", "-c", PROBE, "etcdup-probe", *arguments, *texts, *files)
