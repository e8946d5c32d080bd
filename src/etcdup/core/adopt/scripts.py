"""The two read-only scripts of an inspection: the processes of a host first, then the files that their settings name.

Both need sh and coreutils. They read no private key: of certificate files only the certificates are printed. A section
begins with `@`, and each line of a section with `=`, so no text of the host is read as a section. In arguments and
variables, a line break is the character 1.
"""

from collections.abc import Iterable, Sequence

from etcdup.core.adopt.container_script import CONTAINERS
from etcdup.core.adopt.pod_script import PODS

_TOOLS = r"""
LC_ALL=C; export LC_ALL
say() { printf '@%s\n' "$*"; }
quoted() {
  count=0
  while [ "$count" -lt 4000 ] && { IFS= read -r line || [ -n "$line" ]; }; do
    printf '=%s\n' "$line"
    count=$((count + 1))
  done
}
# Run a command with the rights of a process: any user can name a process etcd, and let it name any file.
as_process() {
  uid= gid= groups=
  while read -r name one two rest; do
    case $name in Uid:) uid=$two ;; Gid:) gid=$two ;; Groups:) groups=$(echo $one $two $rest | tr ' ' ',') ;; esac
  done 2>/dev/null <"/proc/$1/status"
  shift
  [ "$uid" != 0 ] || { "$@"; return; }
  [ -z "$groups" ] && groups=--clear-groups || groups=--groups=$groups
  setpriv --reuid="$uid" --regid="$gid" "$groups" --no-new-privs -- "$@"
}
"""

_PROCESSES = r"""
line_of() { line=; IFS= read -r line 2>/dev/null <"$1"; printf '%s\n' "$line" | quoted; }
list_of() { tr '\n\0' '\001\n' 2>/dev/null <"$1"; }
# Only variables that etcd or Go reads, and no password.
variables_of() {
  list_of "$1" | while IFS= read -r line; do
    case $line in
      ETCD_*PASSWORD*=*|ETCD_*TOKEN=*) case $line in ETCD_INITIAL_CLUSTER_TOKEN=*|ETCD_AUTH_TOKEN=*) ;; *)
        line=${line%%=*}=hidden ;; esac ;;
      ETCD_*=*|GODEBUG=*|GOGC=*|GOMAXPROCS=*|GOMEMLIMIT=*) ;;
      HTTP_PROXY=*|HTTPS_PROXY=*|NO_PROXY=*|http_proxy=*|https_proxy=*|no_proxy=*) line=${line%%=*}=hidden ;;
      *) continue ;;
    esac
    printf '%s\n' "$line"
  done | quoted
}
# The last value of a flag.
flag_of() {
  list_of "$1/cmdline" | { next=; while IFS= read -r word; do
    [ -z "$next" ] || printf '%s\n' "$word"; next=
    case $word in "--$2="*|"-$2="*) printf '%s\n' "${word#*=}" ;; "--$2"|"-$2") next=yes ;; esac; done; } | tail -n 1
}
# The path of the configuration file, as etcd finds it: the flag, otherwise the variable.
config_of() {
  { list_of "$1/environ" | while IFS= read -r word; do
      case $word in ETCD_CONFIG_FILE=?*) printf '%s\n' "${word#*=}" ;; esac; done
    flag_of "$1" config-file
  } | tail -n 1
}
unit_of() {
  unit=
  while IFS= read -r line; do
    line=${line#*:*:}
    case $line in *.service|*.service/*) line=${line%.service*}; unit=${line##*/}.service ;; esac
  done 2>/dev/null <"$1/cgroup"
  case $unit in *[!A-Za-z0-9:_.@\\-]*) unit= ;; esac
}
# The names of the packages that own these files, one a line. Debian knows /usr/bin also as /bin. One call reads the
# lists of all packages, so it gets all paths.
packages_of() {
  if command -v dpkg >/dev/null; then
    for path; do
      [ "${path#/usr/}" = "$path" ] || set -- "$@" "${path#/usr}"
    done
    timeout 5 dpkg -S -- "$@" 2>/dev/null
  elif command -v rpm >/dev/null; then
    for path; do
      timeout 5 rpm -qf --queryformat '%{NAME}: \n' -- "$path" 2>/dev/null
    done
  fi | while IFS= read -r line; do
    case $line in *:\ *) printf '%s\n' "${line%%:*}" ;; esac
  done | quoted
}
newline='
'
host_net=$(readlink /proc/1/ns/net) host_mnt=$(readlink /proc/1/ns/mnt)
say machine
id -u | quoted
line_of /proc/sys/kernel/hostname
while read -r name value; do [ "$name" != btime ] || printf '=%s\n' "$value"; done </proc/stat
{ getconf CLK_TCK || echo 100; } 2>/dev/null | quoted
pods=/etc/kubernetes/manifests
if find_kubelet; then pods=$(static_pods); else kubelet=; fi
embedded= number=0
for process in /proc/[0-9]*; do
  pid=${process#/proc/} name=
  read -r name 2>/dev/null <"$process/comm" || continue
  case $name in
    k3s-server|rke2|k0s) embedded="$embedded $name" ;;
    k3s) case $(list_of "$process/cmdline") in *server*) embedded="$embedded k3s" ;; esac ;;
  esac
  case $name in etcd|etcd-[0-9]*|etcd-v[0-9]*|etcd3*) ;; *) continue ;; esac
  [ "$number" -lt 16 ] || break
  number=$((number + 1))
  say "process $pid"
  readlink "$process/exe" | tr '\n' ' ' | quoted
  readlink "$process/cwd" | tr '\n' ' ' | quoted
  stat -c %U "$process" 2>/dev/null | quoted
  stat=$(tr '\n' ' ' 2>/dev/null <"$process/stat")
  printf '%s\n' "${stat##*) }" | { read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ ticks _; printf '=%s\n' "$ticks"; }
  [ "$(readlink "$process/ns/net")" = "$host_net" ] && echo =host-network || echo =own-network
  say "argv $pid"; list_of "$process/cmdline" | quoted
  say "variables $pid"; variables_of "$process/environ"
  say "cgroup $pid"; cat "$process/cgroup" 2>/dev/null | quoted
  say "mounts $pid"
  [ "$(readlink "$process/ns/mnt")" = "$host_mnt" ] || cat "$process/mountinfo" 2>/dev/null | quoted
  config=$(config_of "$process")
  if [ -n "$config" ]; then
    case $(cat "$process/cgroup") in
      *docker[-/]*|*libpod-*|*crio-*|*cri-containerd[-:]*|*kubepods*|*lxc*) root=$process/root ;; *) root= ;;
    esac
    case $config in /*) file=$root$config ;; *) file=$root$(readlink "$process/cwd")/$config ;; esac
    if [ -f "$file" ]; then
      say "config $pid"
      printf '%s\n' "$config" | quoted
      stat -L -c %Y "$file" | quoted
      as_process "$pid" head -c 65536 "$file" 2>/dev/null | while IFS= read -r line || [ -n "$line" ]; do
        case $line in
          *PRIVATE\ KEY*) break ;;
          *password*|*discovery-token*) line="${line%%:*}: hidden" ;;
        esac
        printf '%s\n' "$line"
      done | quoted
    fi
  fi
  unit_of "$process"
  if engine_of "$process"; then
    say "container $pid"; describe_container | quoted
    starters=$(starters_of | sort -u)
    say "starters $pid"; printf '%s\n' "$starters" | quoted
    unit=${starters%%"$newline"*}
    case $unit in *[!A-Za-z0-9:_.@\\-]*) unit= ;; esac
  fi
  case $(cat "$process/cgroup" 2>/dev/null) in
    *kubepods*) say "pod $pid"; describe_pod "$process" | quoted ;;
  esac
  shown= exe=$(readlink "$process/exe")
  [ -z "$unit" ] || shown=$(systemctl show \
    --property=FragmentPath,DropInPaths,EnvironmentFiles,UnitFileState,NeedDaemonReload \
    --property=Restart,Nice,IOSchedulingClass,OOMScoreAdjust,LimitNOFILE,CPUQuotaPerSecUSec,MemoryMax,MemoryHigh \
    --property=CPUWeight,CPUSchedulingPolicy,MainPID -- "$unit" 2>/dev/null)
  set -- "${exe% (deleted)}"
  case $shown in *FragmentPath=/*) path=${shown##*FragmentPath=}; set -- "$@" "${path%%"$newline"*}" ;; esac
  say "packages $pid"; packages_of "$@"
  [ -n "$unit" ] || continue
  say "unit $pid"
  printf '%s\n%s\n' "$unit" "$shown" | quoted
done
say host-mounts; cat /proc/1/mountinfo 2>/dev/null | quoted
say embedded; printf '%s\n' $embedded | quoted
say marker
[ ! -f /etc/etcd/etcdup.json ] || head -c 65536 /etc/etcd/etcdup.json | quoted
say manifests; manifests "$pods" | quoted
say apiserver
[ ! -f "$pods/kube-apiserver.yaml" ] ||
  grep -e --etcd-servers= "$pods/kube-apiserver.yaml" | head -n 1 | quoted
say timers
{ systemctl list-unit-files --no-legend --plain --state=enabled 'apt-daily-upgrade.timer' 'dnf-automatic*.timer' \
    '*etcd*.timer'
  [ "$(systemctl is-active unattended-upgrades.service)" != active ] || echo unattended-upgrades.service
} 2>/dev/null | while read -r name _; do printf '%s\n' "$name"; done | quoted
say cron
grep -l -s -e etcd /etc/crontab /etc/cron.d/* /etc/cron.hourly/* /etc/cron.daily/* /etc/cron.weekly/* \
  /var/spool/cron/* /var/spool/cron/crontabs/* | quoted
say ansible
for file in /root/.ansible /home/*/.ansible; do [ ! -d "$file" ] || printf '%s\n' "$file"; done | quoted
say juju
for file in /var/lib/juju/agents/*; do [ ! -d "$file" ] || printf '%s\n' "$file"; done | quoted
say end
"""

_FILES = r"""
pid=$1 root=$2; shift 2
certificates() {
  inside=
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      "-----BEGIN CERTIFICATE-----"*) inside=yes ;;
      -----BEGIN*) inside= ;;
    esac
    [ -z "$inside" ] || printf '%s\n' "$line"
    case $line in -----END*) inside= ;; esac
  done
}
# etcd answers /members and /version on its peer port, without a user of etcd. The key stays on the host.
request() {
  url=$1 ca=$2 cert=$3 key=$4
  if command -v curl >/dev/null; then
    set -- -q --silent --show-error --include --http1.1 --max-time 6 --noproxy '*'
    [ -z "$ca" ] || set -- "$@" --cacert "$root$ca"
    [ -z "$key" ] || set -- "$@" --cert "$root$cert" --key "$root$key"
    as_process "$pid" timeout 8 curl "$@" "$url" 2>&1
  elif command -v openssl >/dev/null && [ "${url#https://}" != "$url" ]; then
    rest=${url#https://} name=${url#https://}
    name=${name%%/*}
    case $name in [0-9]*.[0-9]*.[0-9]*.[0-9]*:*|\[*) check=-verify_ip ;; *) check=-verify_hostname ;; esac
    bare=${name%:*}; bare=${bare#\[}; bare=${bare%\]}
    # etcd may close the connection 5 s after its answer. So openssl closes it, when its input ends.
    set -- -quiet -no_ign_eof -verify_return_error "$check" "$bare" -connect "$name"
    [ -z "$ca" ] || set -- "$@" -CAfile "$root$ca"
    [ -z "$key" ] || set -- "$@" -cert "$root$cert" -key "$root$key"
    for wait in 0.1 1 4; do
      answer=$({ printf 'GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n' "${rest#*/}" "$name"; sleep "$wait"; } |
        as_process "$pid" timeout 8 openssl s_client "$@" 2>/dev/null | head -c 262144)
      case $answer in HTTP/*[]}]) break ;; esac
    done
    printf '%s\n' "$answer"
  elif command -v bash >/dev/null && [ "${url#http://}" != "$url" ]; then
    rest=${url#http://} name=${url#http://}
    name=${name%%/*}
    bare=${name%:*}; bare=${bare#\[}; bare=${bare%\]}
    as_process "$pid" timeout 8 bash -c 'exec 3<>"/dev/tcp/$1/$2" &&
      printf "GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n" "$3" "$4" >&3 && cat <&3' \
      bash "$bare" "${name##*:}" "${rest#*/}" "$name" 2>&1
  else
    case $url in
      https:*) echo "the host has neither curl nor openssl" ;;
      *) echo "the host has neither curl nor bash" ;;
    esac
  fi | head -c 262144
}
number=0
while [ $# -gt 0 ]; do
  kind=$1 path=$2; shift 2
  say "$kind $path"
  case $kind in
    cert) [ ! -f "$root$path" ] || head -c 262144 "$root$path" | certificates | quoted ;;
    key) [ ! -f "$root$path" ] || echo =exists ;;
    folder)
      [ -d "$root$path" ] || continue
      readlink -f -- "$root$path" | quoted
      stat -L -c '=%a
=%U:%G
=%m' -- "$root$path" ;;
    peer)
      # The two requests are sent at the same time. The second answer waits in the pipe.
      request "$path/version" "$1" "$2" "$3" | {
        answer=$(request "$path/members" "$1" "$2" "$3")
        printf '%s\n' "$answer" | quoted
        say "version $path"
        case $answer in HTTP/*) quoted ;; esac
      }
      shift 3 ;;
  esac
done
say end
"""


# Any user can name a process etcd, and let it name any file: a file is read with the rights of the process.
_COPY = r"""
as_process "$1" head -c "$4" -- "$2$3"
"""


def copy_argv(pid: int, root: str, path: str, most_bytes: int) -> tuple[str, ...]:
    """Return the command that prints a file of a process. The file may be a private key: it is never shown."""
    return ("sh", "-c", _TOOLS + _COPY, "etcdup-adopt-copy", str(pid), root, path, str(most_bytes))


def processes_argv() -> tuple[str, ...]:
    """Return the command that prints the processes of etcd on a host, and what else manages them."""
    return ("sh", "-c", _TOOLS + CONTAINERS + PODS + _PROCESSES, "etcdup-adopt-processes")


def files_argv(
    pid: int,
    root: str,
    *,
    certs: Iterable[str],
    keys: Iterable[str],
    folders: Iterable[str],
    urls: Iterable[str],
    tls: Sequence[str],
) -> tuple[str, ...]:
    """Return the command that reads files of a process, and sends requests to its peer port.

    `root` is the root directory of a container, empty for a process of the host. `tls` are the paths of CA,
    certificate and key for the requests, each empty if there is none.
    """
    words: list[str] = []
    for kind, paths in (("cert", certs), ("key", keys), ("folder", folders)):
        for path in dict.fromkeys(paths):
            words += [kind, path]
    for url in dict.fromkeys(urls):
        words += ["peer", url, *tls]
    return ("sh", "-c", _TOOLS + _FILES, "etcdup-adopt-files", str(pid), root, *words)
