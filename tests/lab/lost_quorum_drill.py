"""The commands of docs/guides/lost-quorum.md, run word for word on three machines, with what the operator sees."""

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
    """What the page says to type, in its order."""
    lines = re.findall(r"^    etcdup (.+)$", PAGE.read_text(), re.MULTILINE)
    return [tuple(line.split()) for line in lines]


def run_drill(lab: Lab, folder: Path) -> None:
    """Raises LabError where a command does not do what the page says."""
    operator = Operator(lab, folder)
    look, recover, grow = page_commands()
    _, infra2, infra3 = lab.machines
    operator.write(version=VERSION, install=f"from: path, path: {etcd_binaries(VERSION)}")
    _print_line("Three hosts, and a cluster that holds something.")
    _run_command(operator, "apply", "--yes")
    _run_command(operator, *WRITE_BEFORE_LOSS)
    infra2.kill()
    infra3.remove()
    _print_line("infra3 has burnt, with its disk; infra2 is dark. 1. Look first.")
    _run_command(operator, *look, status=None)
    _print_line("2. They stay off; the cluster goes on from infra1.")
    _run_command(operator, *recover, *YES)
    _run_command(operator, "ctl", "--", "get", "written")
    infra2.start()
    infra3.start()
    lab.wait_ssh()
    wait_for_fence(infra2)
    _print_line(
        "infra2 comes back by itself, with its old data, and stays down: journalctl -u etcd says there"
    )
    print(read_fence_output(infra2))
    _print_line("3. At infra3's address stands a fresh machine. Grow back, on both.")
    _run_command(operator, *grow, "--yes")
    _run_command(operator, "ctl", "--", "get", "written")
    _run_command(operator, "health")


def wait_for_fence(machine: Machine) -> None:
    """An old machine that comes back starts its unit by itself, as far as that."""
    deadline = time.monotonic() + 60
    while not read_fence_output(machine):
        if time.monotonic() > deadline:
            raise LabError(f"nothing keeps the old member of {machine.name} down")
        time.sleep(0.2)


def read_fence_output(machine: Machine) -> str:
    """The first of them since the machine was booted."""
    command = "journalctl -b -u etcd -o cat | grep -m1 'was superseded'"
    return machine.run(command, check=False).stdout.strip()


def _print_line(what: str) -> None:
    print(f"\n-- {what}", flush=True)


def _run_command(operator: Operator, *words: str, status: int | None = 0) -> None:
    """What it says goes to the screen as it comes. `status` is what it must end with; None: that is no matter."""
    print(f"\n$ etcdup {' '.join(words)}", flush=True)
    argv: list[str | Path] = [ETCDUP, "-f", operator.file, *words]
    running = operator.lab.popen(
        argv, env=operator.env, cwd=operator.folder, stdout=sys.stdout, stderr=sys.stdout
    )
    if running.wait() != status and status is not None:
        raise LabError(f"`etcdup {' '.join(words)}` ended with {running.returncode}")
