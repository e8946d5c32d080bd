"""The files of a member's write-ahead log (WAL) on its host, and the command that reads one of them."""

from etcdup.core.host.member_user import as_user
from etcdup.core.observed.host import HostSeen

# etcd begins a new file after 64 MiB, and completes the entries that it is writing.
MOST_BYTES = 192 << 20


def log_folder(seen: HostSeen) -> str:
    """Return the directory of the member's log."""
    return seen.wal.path if seen.wal is not None else f"{seen.data.path}/member/wal"


def log_file_argv(folder: str, back: int, user: str, *, only_with: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return a read-only command that prints the name and the content of a log file.

    `back` counts from the last file: 0 is the last file, 1 the file before it. The command prints nothing if there is
    no such file, or if the file contains none of the texts `only_with`. It reads as `user`, the user of the member,
    because that user can replace each file by a link.
    """
    return as_user(user, ("sh", "-c", LOG_FILE, "log-file", folder, str(back), str(MOST_BYTES), *only_with))


LOG_FILE = r"""
set -eu
folder=$1 back=$2 most=$3
shift 3
texts=
for text in "$@"; do texts="$texts -e $text"; done
set -- "$folder"/*.wal
[ -f "$1" ] || { echo "no log: $1" >&2; exit 1; }
[ $# -gt "$back" ] || exit 0
shift $(($# - back - 1))
[ -f "$1" ] || { echo "no log: $1" >&2; exit 1; }
[ -z "$texts" ] || grep -qaF $texts -- "$1" || exit 0
echo "${1##*/}"
head -c "$most" -- "$1" | gzip -c -1 | base64 -w 0
"""
