"""Keep the previous files of a member until its new files are proved, and prove a binary by running it as user etcd.

    /etc/etcd/unproved/    the files of the member as they were last proved, and the link to its binaries

A bad file reaches one member at most: as long as a host has this directory, its files are not proved, and no other host
gets such files. After a kill, the next run finds the directory. The files in it are never replaced by newer ones.
"""

from etcdup.core.host.actions import RunCommand
from etcdup.core.host.member_user import RIGHTS
from etcdup.core.spec.layout import Layout

# The exit status of the script that puts files back, if another version was in use then.
OTHER_VERSION = 9


def keep_command(layout: Layout) -> RunCommand:
    """Return the command that keeps the present files of the member, unless earlier ones are kept already."""
    argv = ("sh", "-c", KEEP, "keep", layout.unproved, layout.current, layout.pki, layout.conf, layout.unit)
    return RunCommand(argv, "keeping the previous files")


def forget_command(layout: Layout) -> RunCommand:
    """Return the command that removes the kept files, because the new files are proved."""
    return RunCommand(("rm", "-rf", "--", layout.unproved), "removing the previous files")


def put_back_commands(layout: Layout) -> list[RunCommand]:
    """Return the commands that put the kept files back. The settings stay if another version was in use then."""
    argv = (
        "sh",
        "-c",
        PUT_BACK,
        "put-back",
        layout.unproved,
        layout.current,
        layout.pki,
        layout.conf,
        layout.unit,
    )
    commands = [RunCommand(argv, "putting the previous files back")]
    if layout.supervisor == "systemd":
        commands.append(RunCommand(("systemctl", "daemon-reload"), "reloading systemd"))
    return commands


def run_binary_command(layout: Layout, folder: str, version: str) -> RunCommand:
    """Return the command that runs etcd from this directory as user etcd. It fails unless etcd reports the version."""
    argv = ("sh", "-c", RUN_BINARY, "run-etcd", layout.user, folder, version)
    return RunCommand(argv, f"running etcd {version} as user etcd")


# Arguments: the directory for the files, the link to the binaries, the directory of certificates, and further files.
# The copy gets its name when it is complete.
KEEP = """\
set -eu
kept=$1
[ ! -d "$kept" ] || exit 0
shift
umask 077
rm -rf -- "$kept.new"
mkdir -- "$kept.new"
for each; do { [ ! -e "$each" ] && [ ! -L "$each" ]; } || cp -pPR -- "$each" "$kept.new/"; done
sync
mv -T -- "$kept.new" "$kept"
"""

# Each file is copied next to its target and renamed. The kept files are removed last: until then, the next run does all
# of this again.
PUT_BACK = """\
set -eu
kept=$1 current=$2 pki=$3
shift 3
[ -d "$kept" ] || exit 0
put() { cp -pP -- "$1" "$2.new" && mv -f -- "$2.new" "$2"; }
for each in "$kept/${pki##*/}"/*; do [ ! -e "$each" ] || put "$each" "$pki/${each##*/}"; done
[ "$(readlink "$kept/${current##*/}")" = "$(readlink "$current")" ] || { sync; exit 9; }
for each; do [ ! -e "$kept/${each##*/}" ] || put "$kept/${each##*/}" "$each"; done
sync
rm -rf -- "$kept"
"""

# Root never runs a new binary: the operator may have got it from a mirror.
RUN_BINARY = (
    RIGHTS
    + """\
become "$1"
found=$(cd / && $as "$2/etcd" --version) || { echo "user etcd cannot run $2/etcd: exit status $?" >&2; exit 1; }
case "$found " in *"etcd Version: $3"[[:space:]]*) ;; *) echo "$2/etcd is not etcd $3: $found" >&2; exit 1 ;; esac
"""
)
