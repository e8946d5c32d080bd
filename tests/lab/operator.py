"""The person at the keyboard: a folder with a cluster.yaml, and `etcdup` run beside the machines."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.support.cache import cache_dir

ETCDUP = Path(sys.executable).parent / "etcdup"
HEALTHY = "cluster is healthy"


class Operator:
    """`etcdup` with a folder of its own. `user` is who logs in to the hosts."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.file = folder / "cluster.yaml"
        # Archives packed by one test serve the next: packing is not what these tests are about.
        self.env = {"ETCDUP_CACHE": str(cache_dir() / "operator"), "HOME": str(folder), "NO_COLOR": "1"}

    def write(
        self, *, version: str = "3.6.14", install: str = "", ssh: str = "", more: str = "", user: str = "root",
        members: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """A cluster.yaml of these machines, or of all that the lab has; `ssh` and `install` are further keys of
        those sections."""
        machines = [self.lab[name] for name in members] or self.lab.machines
        hosts = "".join(f"  - {{name: {each.name}, address: {each.address}}}\n" for each in machines)
        login = f"user: {user}, identity_file: {self.lab.identity_file}, known_hosts: {self.lab.known_hosts}"
        self.file.write_text(
            f"name: prod\nversion: {version}\nhosts:\n{hosts}"
            f"ssh: {{{login}{ssh and ', ' + ssh}}}\n"
            f"install: {{{install}}}\n{more}"
        )

    def run(
        self, *words: str, env: dict[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`etcdup WORDS`, whatever it ends with."""
        argv: list[str | Path] = [ETCDUP, "-f", self.file, *words]
        return self.lab.run(argv, env={**self.env, **(env or {})}, cwd=self.folder, stdin=stdin)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`etcdup WORDS`, to be cut."""
        argv: list[str | Path] = [ETCDUP, "-f", self.file, *words]
        return self.lab.popen(argv, env=self.env, cwd=self.folder)

    def on_terminal(self, *words: str) -> Callable[[int], subprocess.Popen[str]]:
        """`etcdup WORDS` for `typed` (tests/support/keyboard.py)."""
        argv: list[str | Path] = [ETCDUP, "-f", self.file, *words]

        def start(terminal: int) -> subprocess.Popen[str]:
            return self.lab.popen(
                argv, env=self.env, cwd=self.folder, stdin=terminal, stdout=terminal, stderr=terminal
            )

        return start

    def apply(self, env: dict[str, str] | None = None) -> str:
        """An apply that must succeed: its words on stdout and stderr."""
        done = self.run("apply", "--yes", env=env)
        assert done.returncode == 0, output_of(done)
        assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
        return done.stdout + done.stderr

    def health(self) -> str:
        done = self.run("health")
        assert done.returncode == 0, output_of(done)
        assert done.stdout.splitlines()[-1] == HEALTHY
        return done.stdout

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, output_of(done)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def ctl(self, *words: str) -> str:
        """etcdctl's answer; it must succeed."""
        done = self.run("ctl", "--", *words)
        assert done.returncode == 0, output_of(done)
        return done.stdout

    def wait_healthy(self, timeout_s: float = 60) -> None:
        """Until `etcdup health` ends well: for machines that come back by themselves."""
        deadline = time.monotonic() + timeout_s
        while (done := self.run("health")).returncode != 0:
            assert time.monotonic() < deadline, output_of(done)
            time.sleep(0.3)


def move_leadership(operator: Operator, name: str) -> None:
    """Moves leadership to this member, if it does not lead already."""
    status = operator.status()
    if status["leader"] != name:
        ident = next(each["member_id"] for each in status["members"] if each["name"] == name)
        operator.ctl("move-leader", ident)


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    return f"{' '.join(map(str, done.args))}: status {done.returncode}\n{done.stdout}\n{done.stderr}"


def host_traces(machine: Machine) -> str:
    """All that an apply could have left on a machine: to be compared before and after a refusal."""
    folders = "/etc/etcd /opt/etcd /var/lib/etcd /run/etcdup /etc/systemd/system /usr/local/bin"
    # The lock is taken before the last look, and is no trace of a change; a running etcd writes by itself.
    return machine.run(
        f"find {folders} ! -name lock ! -name etcdup -printf '%p %m %u:%g %y %l\\n' 2>/dev/null | sort;"
        "find /etc -xdev -type f -exec sha256sum {} + | sort; id etcd 2>&1",
        check=False,
    ).stdout
