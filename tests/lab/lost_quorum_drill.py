"""The worst day, by its page: docs/worst-day.md typed word for word on three machines, and what one sees."""

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
PAGE = Path(__file__).parents[2] / "docs/worst-day.md"
SURE = ("--yes-recover", "prod")
FIRE = ("ctl", "--", "put", "written", "before-the-fire")


def commands() -> list[tuple[str, ...]]:
    """What the page says to type, in its order."""
    lines = re.findall(r"^    etcdup (.+)$", PAGE.read_text(), re.MULTILINE)
    return [tuple(line.split()) for line in lines]


def play(lab: Lab, folder: Path) -> None:
    """Raises LabError where a command does not do what the page says."""
    operator = Operator(lab, folder)
    look, recover, grow = commands()
    _, infra2, infra3 = lab.machines
    operator.write(version=VERSION, install=f"from: path, path: {etcd_binaries(VERSION)}")
    _tell("Three hosts, and a cluster that holds something.")
    _type(operator, "apply", "--yes")
    _type(operator, *FIRE)
    infra2.kill()
    infra3.remove()
    _tell("infra3 has burnt, with its disk; infra2 is dark. 1. Look first.")
    _type(operator, *look, status=None)
    _tell("2. They stay off; the cluster goes on from infra1.")
    _type(operator, *recover, *SURE)
    _type(operator, "ctl", "--", "get", "written")
    infra2.start()
    infra3.start()
    lab.wait_ssh()
    wait_for_fence(infra2)
    _tell("infra2 comes back by itself, with its old data, and stays down: journalctl -u etcd says there")
    print(words_of_fence(infra2))
    _tell("3. At infra3's address stands a fresh machine. Grow back, on both.")
    _type(operator, *grow, "--yes")
    _type(operator, "ctl", "--", "get", "written")
    _type(operator, "health")


def wait_for_fence(machine: Machine) -> None:
    """An old machine that comes back starts its unit by itself, as far as that."""
    deadline = time.monotonic() + 60
    while not words_of_fence(machine):
        if time.monotonic() > deadline:
            raise LabError(f"nothing keeps the old member of {machine.name} down")
        time.sleep(0.2)


def words_of_fence(machine: Machine) -> str:
    """The first of them since the machine was booted."""
    command = "journalctl -b -u etcd -o cat | grep -m1 'was superseded'"
    return machine.run(command, check=False).stdout.strip()


def _tell(what: str) -> None:
    print(f"\n-- {what}", flush=True)


def _type(operator: Operator, *words: str, status: int | None = 0) -> None:
    """What it says goes to the screen as it comes. `status` is what it must end with; None: that is no matter."""
    print(f"\n$ etcdup {' '.join(words)}", flush=True)
    argv: list[str | Path] = [ETCDUP, "-f", operator.file, *words]
    running = operator.lab.popen(
        argv, env=operator.env, cwd=operator.folder, stdout=sys.stdout, stderr=sys.stdout
    )
    if running.wait() != status and status is not None:
        raise LabError(f"`etcdup {' '.join(words)}` ended with {running.returncode}")
