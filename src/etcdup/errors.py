"""Every error that etcdup shows, and the exit code that each branch ends with.

    EtcdupError                 1  something failed
    ├── UsageError              2  a wrong argument
    │   └── BadFile             2  cluster.yaml, a certificate or a saved plan is wrong: all its problems at once
    ├── RefusedError            4  a guard says no; nothing was changed
    │   └── LockedError         4  somebody else is at work on this cluster
    ├── PartlyApplied           5  some steps are done; the same apply, run again, goes on
    ├── RemoteError             1  a host did not do what was asked
    │   ├── Unreachable...      HostKeyUnknown, HostKeyChanged, AuthFailed, ConnectFailed, ConnectionLost
    │   ├── SudoFailed          becoming root
    │   └── CommandFailed       a command ended with another status than 0
    ├── InstallError            1  etcd's binaries could not be had, or were not the ones expected
    └── PkiError                1  a certificate could not be made or read

A message says what happened and why; `hint` says what to do next. Neither ever holds key material.
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
    """What happened and why, in `str(error)`; what to do about it, in `hint`."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class UsageError(EtcdupError):
    """The command was called in a way that it does not understand."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, order=True)
class Problem:
    """One fault in a file: its place (lines and columns count from 1; 0 means the file as a whole)."""

    line: int
    column: int
    message: str
    hint: str = ""


class BadFile(UsageError):
    """A file that cannot be used, with every problem found in it."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems))
        many = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
        super().__init__(f"{path}: {many}", detail="\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Each problem as `file:line:column: message`, its hint indented below."""
        shown = []
        for problem in self.problems:
            place = f"{self.path}:{problem.line}:{problem.column}" if problem.line else self.path
            shown.append(f"{place}: {problem.message}")
            if problem.hint:
                shown.append(f"    {problem.hint}")
        return shown


class RefusedError(EtcdupError):
    """A guard refused; nothing was changed by the refused step. `refusal` is the planner's own, where it was his."""

    exit_code = EXIT_REFUSED
    refusal: object = None


class LockedError(RefusedError):
    """Another etcdup holds the cluster's lock."""


class PartlyApplied(EtcdupError):
    """Some steps were done and one failed; the same apply goes on from here."""

    exit_code = EXIT_PARTLY


class RemoteError(EtcdupError):
    """A host could not be reached or did not do what was asked. `host` is its name in cluster.yaml."""

    def __init__(self, host: str, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.host = host


class UnreachableError(RemoteError):
    """There is no working connection. Says nothing of whether the host is up (rule 62)."""


class HostKeyUnknown(UnreachableError):
    """The host's SSH key is not in known_hosts."""


class HostKeyChanged(UnreachableError):
    """The host shows another SSH key than the one in known_hosts."""


class AuthFailed(UnreachableError):
    """The host did not accept any of our keys."""


class ConnectFailed(UnreachableError):
    """No TCP connection or no SSH handshake: refused, timed out, no route, name not found."""


class ConnectionLost(UnreachableError):
    """The connection broke while it was in use; the running command may or may not have finished."""


class SudoFailed(RemoteError):
    """The login user could not become root."""


class CommandFailed(RemoteError):
    """A command ended with a status other than 0, or ran into its timeout (status None)."""

    def __init__(
        self, host: str, command: str, status: int | None, stdout: str, stderr: str, *, hint: str = ""
    ) -> None:
        ended = "ran into its timeout" if status is None else f"exited with status {status}"
        super().__init__(host, f"{command} {ended}", detail=(stderr or stdout).strip(), hint=hint)
        self.command = command
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class InstallError(EtcdupError):
    """etcd's binaries could not be had, or were not the ones expected."""


class PkiError(EtcdupError):
    """A certificate or key could not be made, read or used."""
