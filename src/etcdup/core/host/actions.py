"""What can be done on a host: a command, or files put in place; and those that several steps share."""

from dataclasses import dataclass

from etcdup.core.host.content import Content
from etcdup.core.spec.layout import Layout

# A graceful stop hands leadership over and takes about a second; the unit gives etcd a minute (rule 40).
STOP_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class ArchiveInput:
    """The archive of etcd's binaries for this architecture, streamed to a command's stdin."""

    version: str
    arch: str


@dataclass(frozen=True)
class LocalFileInput:
    """A file on the operator's machine, streamed to a command's stdin."""

    path: str


@dataclass(frozen=True)
class RunCommand:
    """A command. `doing` is what a person sees while it runs. Any status but 0 ends the step."""

    argv: tuple[str, ...]
    doing: str
    stdin: ArchiveInput | LocalFileInput | None = None
    timeout_s: float = 30.0


@dataclass(frozen=True)
class FileToWrite:
    """A file to be put in place."""

    path: str
    content: Content
    mode: int
    owner: str


@dataclass(frozen=True)
class WriteFiles:
    """Files put in place atomically, in this order, in one round trip."""

    files: tuple[FileToWrite, ...]
    doing: str


HostAction = RunCommand | WriteFiles


def start_command(layout: Layout) -> RunCommand:
    """Starts etcd without waiting: it is ready only when there is a quorum (rule 1)."""
    if layout.supervisor == "process":
        return RunCommand(("sh", layout.unit), "starting etcd")
    return RunCommand(("systemctl", "restart", "--no-block", "etcd.service"), "starting etcd")


def stop_command(layout: Layout) -> RunCommand:
    """Stops etcd and waits until it is gone; it hands leadership over by itself (rule 39)."""
    if layout.supervisor == "process":
        argv: tuple[str, ...] = ("sh", "-c", STOP_PROCESS, "stop-etcd", layout.pid_file, layout.versions)
    else:
        argv = ("systemctl", "stop", "etcd.service")
    return RunCommand(argv, "stopping etcd", timeout_s=STOP_TIMEOUT_S)


def restart_commands(layout: Layout) -> list[RunCommand]:
    """Stops etcd, waits until it is gone, and starts it without waiting. On a host with systemd both are one command,
    which its shell ends also when nobody listens any more: a killed etcdup leaves no stopped member behind."""
    if layout.supervisor == "process":
        return [stop_command(layout), start_command(layout)]
    return [
        RunCommand(("sh", "-c", RESTART_UNIT, "restart-etcd"), "restarting etcd", timeout_s=STOP_TIMEOUT_S)
    ]


RESTART_UNIT = "systemctl stop etcd.service && systemctl start --no-block etcd.service"

# The process is ended only if it is etcd from our own folder: a pid may have been given to somebody else.
STOP_PROCESS = r"""
read -r pid 2>/dev/null <"$1" || exit 0
ours() { case $(readlink "/proc/$pid/exe" 2>/dev/null) in "$2"/*) return 0 ;; esac; return 1; }
ours "$@" || exit 0
kill "$pid"
while ours "$@"; do sleep 0.05; done
rm -f "$1"
"""
