"""The state of etcd.service, its process, and the files that add to the unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class UnitSeen:
    """The state of etcd.service as systemd reports it, and its process.

    `environment` has the ETCD_* and ETCDUP_* variables of the running process. They are the settings in use, even if
    the files on disk have changed since. `exe` is the binary of the process.

    `queued` says that a start of the unit waits in systemd's queue for the units `waits_for` (rule 115). `invocation`
    identifies the last start. `restarts` counts the starts that systemd made by itself since the unit was started.
    """

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""
    main_pid: int = 0
    restarts: int = 0
    needs_reload: bool = False
    exe: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    invocation: str = ""
    queued: bool = False
    waits_for: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Return True if etcd runs. A process that systemd has forked and that is not etcd yet does not count."""
        forked = self.exe.rsplit("/", 1)[-1].startswith("systemd")
        return self.main_pid > 0 and not forked and self.active in ("active", "activating", "reloading")

    @property
    def is_starting(self) -> bool:
        """Return True if systemd runs ExecStartPre or starts etcd. The delay before a restart does not count."""
        return self.active == "activating" and self.sub in ("start-pre", "start")

    @property
    def is_retrying(self) -> bool:
        """Return True if etcd has exited, and systemd will start it again after a delay.

        The states of that delay are `auto-restart` and, from systemd 254 on, others that contain this word.
        """
        return "auto-restart" in self.sub

    @property
    def is_coming_up(self) -> bool:
        """Return True if systemd starts etcd or will start it by itself, and etcd is not ready yet."""
        return self.queued or self.is_retrying or self.active == "activating"

    @property
    def has_failed(self) -> bool:
        """Return True if etcd has exited with an error since it was started, and has not become ready after that."""
        again = self.active == "activating" and self.restarts > 0
        return not self.queued and (self.is_retrying or self.active == "failed" or again)

    @property
    def running_version(self) -> str:
        """Return the version that the process runs, from the directory of its binary. Empty if there is no process."""
        # /proc shows a binary that was replaced since the start as `PATH (deleted)`.
        return "".join(self.exe.removesuffix(" (deleted)").split("/")[-2:-1])


@dataclass(frozen=True)
class DropIn:
    """A file that adds to etcd.service: the names of the variables and of the other options that it sets."""

    path: str
    variables: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def is_general(self) -> bool:
        """Return whether it is for every service."""
        return "/service.d/" in self.path
