"""The operator: a folder with a cluster.yaml, and `etcdup` in the network of the machines."""

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
    """Runs `etcdup` in a folder of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.file = folder / "cluster.yaml"
        # All tests share packed archives, because these tests do not test packing.
        self.env = {"ETCDUP_CACHE": str(cache_dir() / "operator"), "HOME": str(folder), "NO_COLOR": "1"}

    def write(
        self, *, version: str = "3.6.14", install: str = "", ssh: str = "", more: str = "", user: str = "root",
        members: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Write a cluster.yaml with these machines (default: all).

        `user` is the SSH user. `ssh` and `install` are further keys of these sections.
        """
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
        """Run `etcdup WORDS`, and return its result for any exit code."""
        argv: list[str | Path] = [ETCDUP, *words]
        return self.lab.run(argv, env={**self.env, **(env or {})}, cwd=self.folder, stdin=stdin)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `etcdup WORDS`, for tests that kill it."""
        argv: list[str | Path] = [ETCDUP, *words]
        return self.lab.popen(argv, env=self.env, cwd=self.folder)

    def on_terminal(self, *words: str) -> Callable[[int], subprocess.Popen[str]]:
        """Return the `start` argument of `run_interactively` (tests/support/keyboard.py) for `etcdup WORDS`."""
        argv: list[str | Path] = [ETCDUP, *words]

        def start(terminal: int) -> subprocess.Popen[str]:
            return self.lab.popen(
                argv, env=self.env, cwd=self.folder, stdin=terminal, stdout=terminal, stderr=terminal
            )

        return start

    def apply(self, *options: str, env: dict[str, str] | None = None) -> str:
        """Run an apply that must succeed, and return its stdout and stderr."""
        done = self.run("apply", "--yes", *options, env=env)
        assert done.returncode == 0, output_of(done)
        assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
        return done.stdout + done.stderr

    def assert_nothing_to_do(self) -> None:
        """Run an apply. It must find nothing to do, and prove each member."""
        done = self.run("apply", "--json")
        assert done.returncode == 0, output_of(done)
        told = json.loads(done.stdout)
        assert (told["outcome"], told["health"]["cluster"]) == ("nothing to do", "healthy"), output_of(done)

    def assert_no_step(self) -> None:
        """Plan. There must be no step, no unreachable host, and nothing that the operator has to do first."""
        done = self.run("plan", "--json")
        assert done.returncode == 0, output_of(done)
        told = json.loads(done.stdout)
        assert (told["steps"], told["unknown"], told["unsolved"]) == ([], [], []), output_of(done)

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
        """Run etcdctl, which must succeed, and return its output."""
        done = self.run("ctl", "--", *words)
        assert done.returncode == 0, output_of(done)
        return done.stdout

    def wait_healthy(self, timeout_s: float = 60) -> None:
        """Wait until `etcdup health` succeeds, for members that start by themselves after a boot."""
        deadline = time.monotonic() + timeout_s
        while (done := self.run("health")).returncode != 0:
            assert time.monotonic() < deadline, output_of(done)
            time.sleep(0.3)


def move_leadership(operator: Operator, name: str) -> None:
    """Transfer leadership to this member, if it is not the leader."""
    status = operator.status()
    if status["leader"] != name:
        member_id = next(each["member_id"] for each in status["members"] if each["name"] == name)
        operator.ctl("move-leader", member_id)


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    return f"{' '.join(map(str, done.args))}: status {done.returncode}\n{done.stdout}\n{done.stderr}"


def host_traces(machine: Machine) -> str:
    """Return a listing of everything that an apply can change on a machine, to compare before and after."""
    folders = "/etc/etcd /opt/etcd /var/lib/etcd /run/etcdup /etc/systemd/system /usr/local/bin"
    # The lock is taken before the last observation, so it is not a trace of a change. A running etcd also writes.
    return machine.run(
        f"find {folders} ! -name 'lock*' ! -name etcdup -printf '%p %m %u:%g %y %l\\n' 2>/dev/null | sort;"
        "find /etc -xdev -type f -exec sha256sum {} + | sort; id etcd 2>&1",
        check=False,
    ).stdout
