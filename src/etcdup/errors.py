"""The errors that etcdup shows, and the exit code of each branch.

    EtcdupError                 1  something failed
    ├── UsageError              2  an argument is wrong
    │   └── BadFile             2  cluster.yaml, a certificate or a saved plan is wrong; has all problems of the file
    ├── RefusedError            4  a guard refused a step; the step changed nothing
    │   └── LockedError         4  another etcdup holds the lock of this cluster
    ├── PartlyApplied           5  the run stopped after some steps were done; the same command continues
    │   └── LockLost            5  this run does not hold the lock of the cluster any more
    ├── RemoteError             1  a host could not be reached, or an operation on it failed
    │   ├── ForwardForbidden       sshd does not forward to a port, and the port is not reachable without it
    │   ├── UnreachableError       HostKeyUnknown, HostKeyChanged, AuthFailed, LoginUnusable, ConnectFailed,
    │   │                          ConnectionLost
    │   ├── SudoFailed             the login user could not become root
    │   ├── OutputTooLong          a command printed more than any command of etcdup prints
    │   ├── CommandFailed          a command exited with a status other than 0, or timed out
    │   └── NotLocked              the host did nothing, because this run does not hold its lock
    ├── InstallError            1  the binaries of etcd are not available, or are not the expected ones
    └── PkiError                1  a certificate or key could not be created, read or used

The message says what happened and why. `hint` says what to do next. Neither contains key material.
"""

from dataclasses import dataclass

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CHANGES = 3
EXIT_REFUSED = 4
EXIT_PARTLY = 5
EXIT_INTERRUPTED = 130


class EtcdupError(Exception):
    """The base of all errors. `str(error)` says what happened and why; `hint` says what to do next."""

    exit_code = EXIT_FAILED
    # Whether waiting does not help. A wait ends at such an error.
    lasting = False
    # Whether the same command resumes. If it is False, the hint says what to change first.
    resumes = True

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return self.message  # ops/world/perform.py replaces the message of a script


class UsageError(EtcdupError):
    """The command was called with a wrong argument."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, order=True)
class Problem:
    """One fault in a file. Lines and columns count from 1; line 0 means the file as a whole."""

    line: int
    column: int
    message: str
    hint: str = ""


class BadFile(UsageError):
    """A file cannot be used. `problems` are all faults that were found in it."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems))
        many = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
        super().__init__(f"{path}: {many}", detail="\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return each problem as `file:line:column: message`, with its hint indented below."""
        shown = []
        for problem in self.problems:
            position = f"{self.path}:{problem.line}:{problem.column}" if problem.line else self.path
            shown.append(f"{position}: {problem.message}")
            if problem.hint:
                shown.append(f"    {problem.hint}")
        return shown


class RefusedError(EtcdupError):
    """A guard refused a step, and the step changed nothing. `refusal` is the planner's `Refusal`, if there is one."""

    exit_code = EXIT_REFUSED
    refusal: object = None


class LockedError(RefusedError):
    """Another etcdup holds the lock of the cluster."""


class PartlyApplied(EtcdupError):
    """The run stopped after some steps were done. The same command, run again, does the rest."""

    exit_code = EXIT_PARTLY


class LockLost(PartlyApplied):
    """This run does not hold the lock of the cluster any more. It stopped before its next command."""


class RemoteError(EtcdupError):
    """A host could not be reached, or an operation on it failed. `host` is its name in cluster.yaml."""

    def __init__(self, host: str, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.host = host


class ForwardForbidden(RemoteError):
    """sshd does not forward to a port. `lasting`: this machine cannot reach the port without sshd either."""

    def __init__(
        self, host: str, message: str, *, detail: str = "", hint: str = "", lasting: bool = True
    ) -> None:
        super().__init__(host, message, detail=detail, hint=hint)
        self.lasting = lasting


class UnreachableError(RemoteError):
    """There is no working connection to the host. The host may still be up (rule 62)."""


@dataclass(frozen=True)
class OfferedKey:
    """The SSH key that a host or jump host offers, and the known_hosts file that it belongs into.

    `line` is the line for that file. `host` is the name in cluster.yaml of the host behind it.
    """

    host: str
    place: str
    fingerprint: str
    line: str
    file: str


class HostKeyUnknown(UnreachableError):
    """The SSH key of the host is not in known_hosts. `offered` is that key, if it could be read."""

    offered: OfferedKey | None = None


class HostKeyChanged(UnreachableError):
    """The SSH key of the host differs from the one in known_hosts."""


class AuthFailed(UnreachableError):
    """The host accepted none of the operator's SSH keys."""


class LoginUnusable(UnreachableError):
    """The host accepts the login and runs no command in it. The message has what the host printed instead."""


class ConnectFailed(UnreachableError):
    """The TCP connection or the SSH handshake failed: refused, timed out, no route, or unknown name."""


class ConnectionLost(UnreachableError):
    """The connection broke while it was in use. The running command may or may not have finished."""


class NotLocked(RemoteError):
    """The host did nothing, because this run does not hold its lock. `holder` is the run that does, or empty."""

    def __init__(self, host: str, holder: str) -> None:
        super().__init__(host, f"{host}: this run does not hold the lock of the host")
        self.holder = holder


class OutputTooLong(RemoteError):
    """A command printed more than any command of etcdup prints. It was ended."""

    def __init__(self, host: str, most_bytes: int) -> None:
        super().__init__(
            host,
            f"{host}: a command printed more than {most_bytes >> 20} MiB, and was ended",
            hint=f"find out what the login shell and ForceCommand of sshd on {host} print",
        )


class SudoFailed(RemoteError):
    """The login user could not become root with sudo."""


class CommandFailed(RemoteError):
    """A command exited with a status other than 0, or timed out (status None)."""

    def __init__(
        self, host: str, command: str, status: int | None, stdout: str, stderr: str, *, hint: str = ""
    ) -> None:
        ended = "timed out" if status is None else f"exited with status {status}"
        super().__init__(host, f"{command} {ended}", detail=(stderr or stdout).strip(), hint=hint)
        self.command = command
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class InstallError(EtcdupError):
    """The binaries of etcd are not available, or are not the expected ones."""


class PkiError(EtcdupError):
    """A certificate or key could not be created, read or used."""
