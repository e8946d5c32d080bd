"""The shell scripts that all Hosts run: they need sh (dash is enough), coreutils and sudo.

Paths, owners and commands are positional arguments of the scripts. They are never inserted into the text of a script.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from etcdup.remote.host import HostLock
from etcdup.remote.lock_scripts import FENCE

# A command that ignores SIGTERM at its timeout gets SIGKILL this much later.
KILL_AFTER_S = 2

# The exit status of GNU timeout after a timeout, and after it had to kill the command.
TIMED_OUT = frozenset({124, 137})

# Write several files in one round trip. `write_files` fills in the braces; a double brace is a brace of the shell.
#
# Arguments: the paths, then the owners. Stdin: the contents, one after the other. Variables that `write_files` makes:
# `d1` is the directory of path 1, and `t1` is the temporary file of path 1, in the directory `.etcdup.PID` in `d1`.
#
# The steps, in this order:
#
# 1. `prepare` makes the directory `.etcdup.PID` in each target directory, and removes those that killed writers left.
#    PID is the process ID of this shell, so two writers never share a directory, and a writer that still runs has a
#    directory in /proc. umask 077 keeps other users out.
# 2. `receive` writes each content to its temporary file. `head -c` reads exactly the given size, so the next content
#    stays on stdin. `set -C` (noclobber) makes the creation exclusive: a symbolic link of an attacker is not followed.
# 3. The sizes are compared, because a cut connection looks like the end of the content.
# 4. Owner and mode are set, and the contents are synced.
# 5. `mv` renames the files. All are complete on the disk before the first rename, so a full disk or a cut connection
#    leaves all old files. One `mv` renames all files of a directory: between the renames of a key and its certificate
#    no program has to start (rule 16).
# 6. The target directories are synced. At each exit the trap removes the temporary directories.
#
# One program handles all files where possible, because most of the time for a small file is the start of programs.
#
# It is not a file that shellcheck reads: the number of files decides which lines there are. The loop that this would
# need cannot keep a list of paths in sh without eval.
_WRITE = """\
set -eu
umask 077
prepare() {{
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
{prepare}
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

# Run several commands. The first two arguments are the lock file and its line, both empty without a lock. The arguments
# of each command are: whether it reads stdin, the number of its words, and its words. A command does not inherit file
# descriptor 8, because an etcd that it starts in the background would hold it as long as it runs.
# The umask of the login has no effect on the modes of new directories.
# A line with the time separates the outputs of the commands, on stdout and stderr. If the connection is lost, writing
# that line fails and ends the script: no command begins after etcdup has ended.
_SEVERAL = (
    FENCE
    + r"""
set -eu
[ -z "$1" ] || fence "$1" "$2"
shift 2
umask 022
mark() { read -r up _ </proc/uptime; printf '\036etcdup %s\n' "$up"; printf '\036etcdup %s\n' "$up" >&2; }
first() { words= n=0; while [ "$n" -lt "$1" ]; do n=$((n + 1)); words="$words \"\${$n}\""; done; }
trap mark EXIT
while [ $# -gt 0 ]; do
    reads=$1 size=$2
    shift 2
    mark
    first "$size"
    if [ "$reads" = stdin ]; then eval "$words 8>&-"; else eval "$words </dev/null 8>&-"; fi
    shift "$size"
done
"""
)
# /proc/uptime counts hundredths of a second, so a measured duration may be that much too short.
TICK_S = 0.011
_MARK = re.compile(rb"\x1eetcdup ([0-9.]+)\n")

# The line before the output of a command as root. sudo can print before it: a prompt, a lecture, or that a password
# expires soon.
AS_ROOT = b"\x1eetcdup-root\n"
_EXEC_AS_ROOT = r"""printf '\036etcdup-root\n'; printf '\036etcdup-root\n' >&2; exec "$@" """
# NixOS has sudo in /run/wrappers/bin.
SYSTEM_PATH = "PATH=/run/wrappers/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"

# Run "$@" after the line that follows the password. If sudo required no password (a NOPASSWD rule for this command
# only), the password is still on stdin, and the command must not read it.
GUARD_WORD = "etcdup-sudo-took-the-password"
GUARD_STATUS = 125
_GUARD = f"""\
IFS= read -r word
[ "$word" = {GUARD_WORD} ] || {{ echo {GUARD_WORD} >&2; exit {GUARD_STATUS}; }}
"""


def write_files(files: Sequence[tuple[str, int, str, int]]) -> tuple[str, ...]:
    """Return the command that writes stdin to files, each atomically and durably: path, mode, owner, size.

    With an empty owner the user that writes owns the file.
    """
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
        prepare="\n".join(f'prepare "$d{n}"' for n in firsts.values()),
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
    """Return the number of the first path in each directory, counted from 1."""
    firsts: dict[str, int] = {}
    for number, path in enumerate(paths, 1):
        firsts.setdefault(_folder(path), number)
    return firsts


def in_sequence(
    commands: Sequence[tuple[Sequence[str], bool]], lock: HostLock | None = None
) -> tuple[str, ...]:
    """Return the command that runs commands in order until one fails. Stdin is empty for those without True.

    With `lock`, none is run unless this run holds the lock.
    """
    words = (
        word
        for argv, reads_stdin in commands
        for word in ("stdin" if reads_stdin else "nothing", str(len(argv)), *argv)
    )
    held = (lock.path, lock.line) if lock else ("", "")
    return ("sh", "-c", _SEVERAL, "sh", *held, *words)


def split_output(output: bytes) -> tuple[list[float], list[bytes]]:
    """Split an output of `in_sequence`: the time of the host at each start and at the end, and the outputs.

    If no command was begun, the only output is the text before the first command.
    """
    before, *marked = _MARK.split(output)
    return [float(time) for time in marked[::2]], marked[1:-2:2] or [before]


def read_file(path: str) -> tuple[str, ...]:
    return ("cat", "--", path)


def bounded(argv: Sequence[str], timeout_s: float) -> tuple[str, ...]:
    """Return the command with a timeout on its host: it ends there even if etcdup has ended."""
    return ("timeout", "-k", str(KILL_AFTER_S), f"{timeout_s:.3f}", *argv)


# A login can set variables that change what programs print or do. systemctl writes colours, GNU tar and gzip read
# options from variables, and with POSIXLY_CORRECT programs take options after the first argument for arguments.
PLAIN_VARIABLES = (
    "-u",
    "POSIXLY_CORRECT",
    "LC_ALL=C",
    "SYSTEMD_COLORS=0",
    "SYSTEMD_URLIFY=0",
    "SYSTEMD_PAGER=",
    "TAR_OPTIONS=",
    "GZIP=",
)


def plain(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command with messages in English and without colours, which can be parsed.

    sudo gets the password, so it is found in directories of the system only, not in the PATH of the login.
    """
    path = (SYSTEM_PATH,) if argv[0] == "sudo" else ()
    return ("/usr/bin/env", *PLAIN_VARIABLES, *path, *argv)


def by_sudo(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command as root, if sudo requires no password."""
    return plain(("sudo", "-n", "--", "sh", "-c", _EXEC_AS_ROOT, "sh", *_in_plain_environment(argv)))


def by_sudo_with_password(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command as root. The password and GUARD_WORD are the first two lines of stdin.

    `-k` makes sudo read the password each time, so the content of stdin never depends on an earlier command. The
    prompt is not changed with `-p`, because some versions of sudo-rs do not have this option.
    """
    script = _GUARD + _EXEC_AS_ROOT
    return plain(("sudo", "-k", "-S", "--", "sh", "-c", script, "sh", *_in_plain_environment(argv)))


def _in_plain_environment(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the command for a new session of sudo, which can read /etc/environment."""
    return ("/usr/bin/env", *PLAIN_VARIABLES, *argv)
