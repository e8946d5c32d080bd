"""Run the commands of docs/guides/lost-quorum.md word for word on three machines, and show their output."""

import re
import sys
import time
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.operator import ETCDUP, Operator
from tests.lab.shell import LabError
from tests.support.etcd_binaries import etcd_binaries

VERSION = "3.6.14"
PAGE = Path(__file__).parents[2] / "docs/guides/lost-quorum.md"
YES = ("--yes-recover", "prod")
WRITE_BEFORE_LOSS = ("ctl", "--", "put", "written", "before-the-fire")


def page_commands() -> list[tuple[str, ...]]:
    """Return the commands of the page, in its order."""
    lines = re.findall(r"^    etcdup (.+)$", PAGE.read_text(), re.MULTILINE)
    return [tuple(line.split()) for line in lines]


def run_drill(lab: Lab, folder: Path) -> None:
    """Lose two machines of three and follow the page. Raise LabError if a command fails."""
    operator = Operator(lab, folder)
    status, recover, apply = page_commands()
    _, infra2, infra3 = lab.machines
    operator.write(version=VERSION, install=f"from: path, path: {etcd_binaries(VERSION)}")
    _print_line("Three hosts with a cluster that has data.")
    _run_command(operator, "apply", "--yes")
    _run_command(operator, *WRITE_BEFORE_LOSS)
    infra2.kill()
    infra3.remove()
    _print_line("infra3 and its disk are destroyed; infra2 has no power. 1. Observe the cluster.")
    _run_command(operator, *status, status=None)
    _print_line("2. Both stay off. The cluster continues with the data of infra1.")
    _run_command(operator, *recover, *YES)
    _run_command(operator, "ctl", "--", "get", "written")
    infra2.start()
    infra3.start()
    lab.wait_ssh()
    wait_for_fence(infra2)
    _print_line("infra2 boots with its old data. Its etcd stays stopped. journalctl -u etcd on infra2 shows:")
    print(read_fence_output(infra2))
    _print_line("3. A new machine has the address of infra3. Add both hosts again.")
    _run_command(operator, *apply, "--yes")
    _run_command(operator, "ctl", "--", "get", "written")
    _run_command(operator, "health")


def wait_for_fence(machine: Machine) -> None:
    """Wait until the startup fence of an old machine has stopped its unit after the boot."""
    deadline = time.monotonic() + 60
    while not read_fence_output(machine):
        if time.monotonic() > deadline:
            raise LabError(f"the startup fence of {machine.name} has not stopped the old member")
        time.sleep(0.2)


def read_fence_output(machine: Machine) -> str:
    """Return the first message of the startup fence since the machine booted, or ""."""
    command = "journalctl -b -u etcd -o cat | grep -m1 'was superseded'"
    return machine.run(command, check=False).stdout.strip()


def _print_line(what: str) -> None:
    print(f"\n-- {what}", flush=True)


def _run_command(operator: Operator, *words: str, status: int | None = 0) -> None:
    """Run a command with its output on the screen. `status` is the required exit status; None allows any."""
    print(f"\n$ etcdup {' '.join(words)}", flush=True)
    argv: list[str | Path] = [ETCDUP, *words]
    running = operator.lab.popen(
        argv, env=operator.env, cwd=operator.folder, stdout=sys.stdout, stderr=sys.stdout
    )
    if running.wait() != status and status is not None:
        raise LabError(f"`etcdup {' '.join(words)}` ended with exit status {running.returncode}")
