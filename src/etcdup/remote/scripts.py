"""The shell that runs on hosts, shared by every Host: sh (dash is enough), coreutils and sudo.

Scripts take what they work on as positional arguments, never by being pasted together.
"""

import shlex
from collections.abc import Sequence

# A command that ignores SIGTERM at its timeout is killed this much later.
KILL_AFTER_S = 2

# GNU timeout's own status, and that of a command which it had to kill.
TIMED_OUT = frozenset({124, 137})

# Four arguments a file: path, mode, owner or nothing, size in bytes; the contents follow each other on stdin.
#
# All of them are complete on the disk before the first is renamed: a full disk or a cut connection leaves
# every old file. The size is checked because a cut connection looks like the end of the content. A temporary
# file's name holds the writer's process ID: two writers never share one, and what a killed writer left is told
# apart from one at work. noclobber makes its creation exclusive, so a planted link is not followed.
# One sync serves all files of a folder. `head -c` reads no further than it is asked to, so the next file's
# content is left to it.
_WRITE = """\
set -eu
umask 077
place() { dir=${1%/*}; name=${1##*/}; dir=${dir:-/}; temp="$dir/.$name.etcdup.$$"; }
each() { act=$1; shift; while [ $# -gt 0 ]; do place "$1"; "$act" "$@"; shift 4; done; }
receive() {
    if [ ! -d "$dir" ]; then echo "no such folder: $dir" >&2; exit 1; fi
    for left in "$dir/.$name.etcdup."*; do
        [ -d "/proc/${left##*.}" ] || rm -f -- "$left"
    done
    set -C
    head -c "$4" > "$temp"
    set +C
    if [ "$(stat -c %s -- "$temp")" != "$4" ]; then echo "only a part of the content arrived" >&2; exit 1; fi
    [ -z "$3" ] || chown -- "$3" "$temp"
    [ "$2" = 0600 ] || chmod -- "$2" "$temp"
}
rename() { mv -f -T -- "$temp" "$1"; }
settle_content() { [ "$settled" = "$dir" ] || sync -- "$dir"/.*.etcdup."$$"; settled=$dir; }
settle_names() { [ "$settled" = "$dir" ] || sync -- "$dir"; settled=$dir; }
forget() { [ ! -e "$temp" ] || rm -f -- "$temp"; }
trap 'each forget "$@"' EXIT
trap 'exit 1' HUP INT TERM
each receive "$@"
settled=; each settle_content "$@"
each rename "$@"
settled=; each settle_names "$@"
"""

# Runs "$@" after the line that follows the password. Where sudo did not ask for the password (a NOPASSWD
# rule for this command alone), the password is still on stdin: it must not become the command's input.
GUARD_WORD = "etcdup-sudo-took-the-password"
GUARD_STATUS = 125
_GUARD = f'IFS= read -r word; [ "$word" = {GUARD_WORD} ] || exit {GUARD_STATUS}; exec "$@"'


def write_files(files: Sequence[tuple[str, int, str, int]]) -> tuple[str, ...]:
    """Puts stdin into files, each atomically and durably: path, mode, owner, size. An empty owner leaves it to
    the writing user."""
    words = [word for path, mode, owner, size in files for word in (path, f"{mode:04o}", owner, str(size))]
    return ("sh", "-c", _WRITE, "sh", *words)


def read_file(path: str) -> tuple[str, ...]:
    return ("cat", "--", path)


def bounded(argv: Sequence[str], timeout_s: float) -> tuple[str, ...]:
    """The command, ended on its own host at the timeout: no orphan stays if the operator is gone by then."""
    return ("timeout", "-k", str(KILL_AFTER_S), f"{timeout_s:.3f}", *argv)


def plain(argv: Sequence[str]) -> tuple[str, ...]:
    """The command with messages that can be parsed."""
    return ("env", "LC_ALL=C", *argv)


def by_sudo(argv: Sequence[str]) -> tuple[str, ...]:
    """The command as root where sudo asks for nothing."""
    return plain(("sudo", "-n", "--", *argv))


def by_sudo_with_password(argv: Sequence[str]) -> tuple[str, ...]:
    """The command as root; the password and GUARD_WORD are the first two lines of stdin.

    `-k` makes sudo ask every time, so that what is on stdin never depends on an earlier command.
    """
    return plain(("sudo", "-k", "-S", "-p", "", "--", "sh", "-c", _GUARD, "sh", *argv))


def as_line(argv: Sequence[str]) -> str:
    """The command for the login shell that sshd hands it to; exec saves that shell's process."""
    return "exec " + shlex.join(argv)
