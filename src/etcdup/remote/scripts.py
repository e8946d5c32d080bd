"""The shell that runs on hosts, shared by every Host: sh (dash is enough), coreutils and sudo.

Scripts take what they work on as positional arguments, never by being pasted together.
"""

import re
import shlex
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

# A command that ignores SIGTERM at its timeout is killed this much later.
KILL_AFTER_S = 2

# GNU timeout's own status, and that of a command which it had to kill.
TIMED_OUT = frozenset({124, 137})

# The contents follow each other on stdin; the paths are the first arguments, then the owners.
#
# All of them are complete on the disk before the first is renamed: a full disk or a cut connection leaves
# every old file. The size is checked because a cut connection looks like the end of the content. They are written,
# under their own names, in a folder beside them that holds the writer's process ID: two writers never share one, and
# what a killed writer left is told apart from one at work. Nobody else may enter it, and noclobber makes the creation
# of files exclusive, so a planted link is not followed. One mv then renames all that go to one folder: between a key
# and its certificate there are two system calls of one program, and not its end and the start of another (rule 16).
# `head -c` reads no further than it is asked to, so the next file's content is left to it. What one program can do
# for all files it does for all: starting programs is most of the work on a small file.
_WRITE = """\
set -eu
umask 077
room() {{
    if [ ! -d "$1/" ]; then echo "no such folder: $1" >&2; exit 1; fi
    for left in "$1/.etcdup."*; do
        [ -e "$left" ] || continue
        case ${{left##*/.etcdup.}} in *[!0-9]*) continue ;; esac
        if [ "${{left##*.}}" = $$ ] || [ ! -d "/proc/${{left##*.}}" ]; then rm -rf -- "$left"; fi
    done
    mkdir -- "$1/.etcdup.$$"
}}
receive() {{
    if [ -d "$1" ] && [ ! -L "$1" ]; then echo "there is a folder in the place of $1" >&2; exit 1; fi
    head -c "$3" > "$2"
}}
{folders}
{temps}
trap 'rm -rf -- {stages}' EXIT
trap 'exit 1' HUP INT TERM
{rooms}
set -C
{receive}
set +C
sizes=$(echo $(stat -c %s -- {all_temps}))
if [ "$sizes" != "{sizes}" ]; then echo "only a part of the content arrived" >&2; exit 1; fi
{own}
sync -- {all_temps}
{rename}
sync -- {targets}
"""

# Several commands in one: for each, whether it reads stdin, the count of its words, and those. A mark with the
# time, on both outputs, begins each of them and ends the last, so that they can be told apart. Where nobody listens
# any more, the mark ends the script: no command is begun after its operator is gone.
_SEVERAL = r"""
set -eu
mark() { read -r up _ </proc/uptime; printf '\036etcdup %s\n' "$up"; printf '\036etcdup %s\n' "$up" >&2; }
first() { words= n=0; while [ "$n" -lt "$1" ]; do n=$((n + 1)); words="$words \"\${$n}\""; done; }
trap mark EXIT
while [ $# -gt 0 ]; do
    reads=$1 size=$2
    shift 2
    mark
    first "$size"
    if [ "$reads" = stdin ]; then eval "$words"; else eval "$words </dev/null"; fi
    shift "$size"
done
"""
# /proc/uptime counts hundredths of a second: two readings may be that much nearer than what they measure.
TICK_S = 0.011
_MARK = re.compile(rb"\x1eetcdup ([0-9.]+)\n")

# Runs "$@" after the line that follows the password. Where sudo did not ask for the password (a NOPASSWD
# rule for this command alone), the password is still on stdin: it must not become the command's input.
GUARD_WORD = "etcdup-sudo-took-the-password"
GUARD_STATUS = 125
_GUARD = f'IFS= read -r word; [ "$word" = {GUARD_WORD} ] || exit {GUARD_STATUS}; exec "$@"'


def write_files(files: Sequence[tuple[str, int, str, int]]) -> tuple[str, ...]:
    """Puts stdin into files, each atomically and durably: path, mode, owner, size. An empty owner leaves it to
    the writing user."""
    paths = [path for path, *_ in files]
    owners = sorted({owner for _, _, owner, _ in files} - {""})
    modes = sorted({mode for _, mode, _, _ in files} - {0o600})
    temps = [f'"$t{number}"' for number, _ in enumerate(files, 1)]
    firsts = _first_of_each_folder(paths)

    def of(column: int, value: object) -> str:
        return " ".join(temp for temp, file in zip(temps, files, strict=True) if file[column] == value)

    own = [f'chown -- "${{{n}}}" {of(2, owner)}' for n, owner in enumerate(owners, len(files) + 1)]
    own += [f"chmod {mode:04o} -- {of(1, mode)}" for mode in modes]
    homes = [firsts[_folder(path)] for path in paths]
    runs = groupby(zip(homes, temps, strict=True), key=itemgetter(0))
    script = _WRITE.format(
        folders="\n".join(f"d{n}=${{{n}%/*}}" for n in firsts.values()),
        temps="\n".join(f't{n}="$d{home}/.etcdup.$$/${{{n}##*/}}"' for n, home in enumerate(homes, 1)),
        stages=" ".join(f'"$d{n}/.etcdup.$$"' for n in firsts.values()),
        rooms="\n".join(f'room "$d{n}"' for n in firsts.values()),
        receive="\n".join(
            f'receive "${{{n}}}" {temp} {size}'
            for n, (temp, (*_, size)) in enumerate(zip(temps, files, strict=True), 1)
        ),
        all_temps=" ".join(temps),
        sizes=" ".join(str(size) for *_, size in files),
        own="\n".join(own),
        rename="\n".join(f'mv -f -- {" ".join(temp for _, temp in run)} "$d{home}/"' for home, run in runs),
        targets=" ".join(f'"$d{n}/"' for n in firsts.values()),
    )
    return ("sh", "-c", script, "sh", *paths, *owners)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _first_of_each_folder(paths: Sequence[str]) -> dict[str, int]:
    """The number of the first path in every folder, counted from 1."""
    firsts: dict[str, int] = {}
    for number, path in enumerate(paths, 1):
        firsts.setdefault(_folder(path), number)
    return firsts


def in_sequence(commands: Sequence[tuple[Sequence[str], bool]]) -> tuple[str, ...]:
    """Commands one after the other until one fails; the others than those with True find stdin empty."""
    words = (
        word
        for argv, reads_stdin in commands
        for word in ("stdin" if reads_stdin else "nothing", str(len(argv)), *argv)
    )
    return ("sh", "-c", _SEVERAL, "sh", *words)


def split_output(output: bytes) -> tuple[list[float], list[bytes]]:
    """An output of `several`: the host's time in seconds at each begin and at the end, and what each command said.

    What was said before the first of them stands alone where none was begun.
    """
    before, *marked = _MARK.split(output)
    return [float(time) for time in marked[::2]], marked[1:-2:2] or [before]


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
