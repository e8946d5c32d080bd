"""The lock on a host: a file that one shell holds with flock, and in it the line of the run that holds it.

A command that changes a host first compares the line, in the same shell script. So a run that lost its lock, for
example on a suspended laptop, changes nothing, although it does not know yet that another run holds the lock.

`FILE.busy` is a second file. Each command that changes the host holds it, shared, until it ends. A new holder of the
lock waits for that: the last command of the previous holder has then ended, too. Both files belong to root and have
mode 0600, because flock needs no more than the right to open a file.
"""

import re
from collections.abc import Sequence

from etcdup.core.spec.visible import one_line
from etcdup.remote.host import HostLock

# A host releases the lock if it gets no heartbeat for so long.
LOST_AFTER_S = 30
# How long a new holder waits for the last command of the previous holder.
BUSY_WAIT_S = 15

# Arguments: the file, the line, and the two times. The first output line is the result. `head -c 1` reads exactly one
# byte of the heartbeat. flock is a part of util-linux.
LOCK = r"""
command -v flock >/dev/null || { echo no-flock; exit 0; }
umask 022
mkdir -p "${1%/*}" || exit 1
umask 077
: >>"$1" && : >>"$1.busy" && chmod 0600 "$1" "$1.busy" || exit 1
exec 9>>"$1" 8>>"$1.busy" || exit 1
if ! flock -n 9; then
    # The holder writes its line right after it has taken the lock.
    for pause in 0.1 0.4 1; do
        sleep "$pause"
        IFS= read -r line <"$1" && [ -n "$line" ] && break
    done
    printf 'held\n%s\n' "$line"
    exit 0
fi
printf '%s\n' "$2" >"$1"
if flock -w "$4" 8; then
    exec 8>&-
    echo locked
    while [ "$(timeout "$3" head -c 1)" = . ]; do :; done
else
    echo busy
fi
# If the file was deleted, there may be another one with the line of another run.
[ "$(cat "$1")" != "$2" ] || : >"$1"
"""

# Print the line of the run that holds the lock. The kernel lists held locks by inode: to try the lock instead would
# refuse it for a moment to a run that takes it.
SHOW_HOLDER = r"""
inode=$(stat -c %i -- "$1" 2>/dev/null) || exit 0
grep -q "FLOCK .*WRITE .*:$inode 0 EOF" /proc/locks 2>/dev/null || exit 0
cat -- "$1"
"""

NOT_LOCKED_STATUS = 97
NOT_LOCKED_WORD = "etcdup-lock-lost"
# sudo and a login shell can write warnings before it, for example about the name of the host or the locale.
_NOT_LOCKED = re.compile(rf"^{NOT_LOCKED_WORD}(?: (.*))?\n\Z", re.MULTILINE)
_LINE_LIMIT = 200

# `fence FILE LINE` ends the shell with its own status and word, unless this run holds the lock. The shared lock on
# file descriptor 8 lasts until the shell ends. A lock that flock can take is held by no run.
FENCE = rf"""
lost() {{ printf '%s %s\n' {NOT_LOCKED_WORD} "$line" >&2; exit {NOT_LOCKED_STATUS}; }}
fence() {{
    line=
    [ -f "$1" ] || lost
    exec 8>>"$1.busy" 7<"$1"
    flock -s -w 30 8 || lost
    IFS= read -r line <&7 || lost
    [ "$line" = "$2" ] || lost
    if flock -n -s 7; then line=; lost; fi
    exec 7<&-
}}
"""

_HELD = FENCE + 'fence "$1" "$2"; shift 2; exec 8>&-; exec "$@"'


def lock_argv(lock: HostLock, lost_after_s: int = LOST_AFTER_S) -> tuple[str, ...]:
    """Return the command that takes the lock. It is held until its stdin ends, or has no byte for `lost_after_s`."""
    return ("sh", "-c", LOCK, "etcdup-lock", lock.path, lock.line, str(lost_after_s), str(BUSY_WAIT_S))


def show_holder_argv(path: str) -> tuple[str, ...]:
    """Return a command that prints the line of the run that holds the lock, or nothing. It takes no lock."""
    return ("sh", "-c", SHOW_HOLDER, "etcdup-lock-holder", path)


def if_locked(argv: Sequence[str], lock: HostLock | None) -> tuple[str, ...]:
    """Return the command that runs `argv` only while this run holds the lock."""
    return tuple(argv) if lock is None else ("sh", "-c", _HELD, "sh", lock.path, lock.line, *argv)


def parse_not_locked(status: int, stderr: str) -> str | None:
    """Return the line of the present holder if the fence ended the command: empty if no run holds the lock."""
    found = _NOT_LOCKED.search(stderr)
    return shown_line(found[1] or "") if status == NOT_LOCKED_STATUS and found else None


def shown_line(line: str) -> str:
    """Return what a lock file contains, for a message: any local process may have written a host's output."""
    return one_line(line, _LINE_LIMIT)
