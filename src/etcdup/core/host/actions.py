"""The actions on a host: run a command, or write files. And the commands that several steps use."""

from dataclasses import dataclass

from etcdup.core.host.content import Content
from etcdup.core.spec.layout import Layout

# A graceful stop transfers leadership and takes about a second. The unit allows etcd one minute (rule 40).
STOP_TIMEOUT_S = 90.0
# Clients that lose their connection try another member within about one second. The pause is not longer, because it can
# be the only member that accepts a client: Patroni 3.0 steps down if it cannot write for 10 s, with the start of etcd.
PAUSE_S = 1.5


@dataclass(frozen=True)
class ArchiveInput:
    """The archive of etcd's binaries for this architecture, streamed to a command's stdin."""

    version: str
    arch: str


@dataclass(frozen=True)
class LocalFileInput:
    """A file on the operator's machine, streamed to the stdin of a command."""

    path: str


@dataclass(frozen=True)
class RunCommand:
    """A command. The progress display shows `doing` while it runs. A status other than 0 fails the step."""

    argv: tuple[str, ...]
    doing: str
    stdin: ArchiveInput | LocalFileInput | None = None
    timeout_s: float = 30.0


@dataclass(frozen=True)
class FileToWrite:
    """A file to write, with its mode and owner."""

    path: str
    content: Content
    mode: int
    owner: str


@dataclass(frozen=True)
class WriteFiles:
    """Files to write atomically, in this order, in one round trip."""

    files: tuple[FileToWrite, ...]
    doing: str


HostAction = RunCommand | WriteFiles


def start_command(layout: Layout) -> RunCommand:
    """Return the command that starts etcd without waiting, because etcd is ready only with a quorum (rule 1)."""
    if layout.supervisor == "process":
        return RunCommand(("sh", layout.unit), "starting etcd")
    return RunCommand(("systemctl", "restart", "--no-block", "etcd.service"), "starting etcd")


def stop_command(layout: Layout) -> RunCommand:
    """Return the command that stops etcd and waits for its end. etcd transfers leadership by itself (rule 39)."""
    if layout.supervisor == "process":
        argv: tuple[str, ...] = ("sh", "-c", STOP_PROCESS, "stop-etcd", layout.pid_file, layout.versions)
    else:
        argv = ("systemctl", "stop", "etcd.service")
    return RunCommand(argv, "stopping etcd", timeout_s=STOP_TIMEOUT_S)


def restart_commands(layout: Layout) -> list[RunCommand]:
    """Return the commands that stop etcd, wait for its end, and start it without waiting.

    With systemd, both are one shell command. The shell finishes it even if the connection breaks, so a killed etcdup
    does not leave the member stopped.
    """
    if layout.supervisor == "process":
        return [stop_command(layout), start_command(layout)]
    return [
        RunCommand(("sh", "-c", RESTART_UNIT, "restart-etcd"), "restarting etcd", timeout_s=STOP_TIMEOUT_S)
    ]


def pause_commands(layout: Layout) -> list[RunCommand]:
    """Return the commands that restart etcd with a pause, in which its clients connect to other members.

    Without the pause, a client that connects again at once finds the same member.
    """
    if layout.supervisor == "process":
        pause = RunCommand(("sleep", f"{PAUSE_S:g}"), "waiting for its clients to leave")
        return [stop_command(layout), pause, start_command(layout)]
    argv = ("sh", "-c", PAUSE_UNIT, "pause-etcd", f"{PAUSE_S:g}")
    return [RunCommand(argv, "restarting etcd, with a pause", timeout_s=STOP_TIMEOUT_S + PAUSE_S)]


RESTART_UNIT = "systemctl stop etcd.service && systemctl start --no-block etcd.service"
# A stopping etcd refuses connections at once, and then waits up to 7 s for open watches. A client that no other member
# accepts must not wait so long: Patroni gives up after 10 s. So etcd is killed when the pause is over. It is not the
# leader, and what it acknowledged is on its disk.
PAUSE_UNIT = r"""
systemctl stop --no-block etcd.service || exit
sleep "$1"
systemctl kill --signal=KILL etcd.service 2>/dev/null
systemctl stop etcd.service && systemctl start --no-block etcd.service
"""

# The process is killed only if its binary is in our own directory, because the pid may belong to another process now.
STOP_PROCESS = r"""
read -r pid 2>/dev/null <"$1" || exit 0
ours() { case $(readlink "/proc/$pid/exe" 2>/dev/null) in "$2"/*) return 0 ;; esac; return 1; }
ours "$@" || exit 0
kill "$pid"
while ours "$@"; do sleep 0.05; done
rm -f "$1"
"""
