"""The commands that defragment the database of a stopped member (rules 59, 79).

The tool of etcd writes a second file, and renames it over the database. An etcd that starts meanwhile would wait for
the lock of the old file, and then use a file that has no name any more. So nothing may start etcd during that time:

- systemd runs the tool as a unit that conflicts with etcd.service. A start of etcd, by whichever program, first kills
  the tool. The database is then the old file or the complete new one. A shutdown of the host does the same.
- Another run of etcdup waits for the end of the script, because the script holds the lock of the host.

The script ends also if the connection breaks, and then has started etcd. So it writes its output only after that.
"""

from etcdup.core.host.actions import STOP_PROCESS, STOP_TIMEOUT_S, RunCommand
from etcdup.core.host.member_user import Argv, as_user, name_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.version import Version, has_etcdutl, parse_version

DEFRAG_UNIT = "etcdup-defrag.service"
# The member is stopped, so its clients use the other members. The limit is for a tool that never ends.
TOOL_TIMEOUT_S = 12 * 3600.0


def offline_tool(tools: str, version: Version) -> Argv:
    """Return the program that changes stopped data, in the directory `tools`: etcdctl before 3.5, etcdutl since."""
    if has_etcdutl(version):
        return (f"{tools}/etcdutl",)
    return ("env", "-i", "ETCDCTL_API=3", f"{tools}/etcdctl")


def try_tool_command(seen: HostSeen, layout: Layout) -> RunCommand:
    """Return the command that runs the tool of the running version once, before the member is stopped."""
    tool = _tool(seen, layout)
    return RunCommand(as_user(layout.user, (*tool, "version")), f"running {name_of(tool[-1])}")


def _tool(seen: HostSeen, layout: Layout) -> Argv:
    version = seen.unit.running_version or seen.current
    return offline_tool(layout.version_dir(version), parse_version(version))


def offline_defrag_command(seen: HostSeen, layout: Layout) -> RunCommand:
    """Return the command that stops a running member, defragments its database as its user, and starts it again."""
    work = (*_tool(seen, layout), "defrag", "--data-dir", layout.data_dir)
    if layout.supervisor == "process":
        places = (layout.pid_file, layout.versions, layout.unit)
        argv = ("sh", "-c", DEFRAG_PROCESS, "defrag-etcd", *places, *work)
    else:
        # systemd replaces `$` in the arguments of a command.
        words = (word.replace("$", "$$") for word in work)
        log = f"{layout.run}/defrag.log"
        argv = ("sh", "-c", DEFRAG_STOPPED, "defrag-etcd", DEFRAG_UNIT, layout.user, log, *words)
    return RunCommand(argv, "defragmenting the stopped database", timeout_s=STOP_TIMEOUT_S + TOOL_TIMEOUT_S)


# A oneshot is started when its program has ended, so systemd-run waits for that, also on hosts without D-Bus. A kill
# cannot damage the database: the old file is not changed, and the rename is atomic.
DEFRAG_STOPPED = r"""
unit=$1 user=$2 log=$3
shift 3
mkdir -p -- "${log%/*}"
rm -f -- "$log"
systemctl stop etcd.service || exit
out=$(systemd-run --quiet --collect --service-type=oneshot --unit="$unit" --property=Conflicts=etcd.service \
  --property=Before=etcd.service --property=KillSignal=SIGKILL --property=User="$user" --property=Group="$user" \
  --property=UMask=0077 --property=NoNewPrivileges=yes --property=LimitCORE=0 --property=StandardOutput=file:"$log" \
  --property=StandardError=file:"$log" -- "$@" 2>&1 </dev/null)
status=$?
state=$(systemctl is-active etcd.service)
systemctl start --no-block etcd.service || exit
case $status.$state in
  0.*) ;;
  *.active | *.activating) echo "etcd.service was started meanwhile, which ended the tool" >&2 ;;
  *) { printf '%s\n' "$out"; cat -- "$log"; } >&2 ;;
esac
exit "$status"
"""

DEFRAG_PROCESS = f"""
({STOP_PROCESS}) || exit
start=$3
shift 3
out=$("$@" 2>&1)
status=$?
sh "$start" || exit
printf '%s\\n' "$out" >&2
exit "$status"
"""
