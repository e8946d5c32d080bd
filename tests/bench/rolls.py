"""Rolling restarts of one cluster, under writers: by etcdup, by a shell script, by Ansible, in turn."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.contenders import Contender
from tests.bench.course import inspect, run_timed, start_line
from tests.bench.errors import CannotRun
from tests.bench.interruption import Away, Interruption, judge
from tests.bench.rollers import Roller
from tests.bench.stopwatch import Job, Timing
from tests.bench.writers import read_report
from tests.lab import Lab, Machine

CHECKOUT = Path(__file__).parents[2]
LEAD_S = 1.0
TAIL_S = 2.0  # what breaks just after a contender says that it is done is its doing
REST_S = 1.0
WRITERS_END_S = 120.0  # all that was acknowledged is read back
ETCDCTL = (
    "/opt/etcd/current/etcdctl --cacert=/etc/etcd/pki/ca.pem --cert=/etc/etcd/pki/health.pem "
    "--key=/etc/etcd/pki/health-key.pem"
)
# systemd's own names for what it logs when it begins to stop a unit, and when a unit has become ready.
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STARTED = "39f53479d3a045ac8e11786248231fbf"


@dataclass
class Rolled:
    """By contender: how long it took (CPU with the writers'), and what the writers saw."""

    timings: dict[str, list[Timing]] = field(default_factory=dict)
    interruptions: dict[str, list[Interruption]] = field(default_factory=dict)


def measure_rolls(
    lab: Lab, builder: Contender, rollers: Sequence[Roller], version: str, runs: int,
    report: Callable[[str], None],
) -> Rolled:  # fmt: skip
    """`builder` brings the one cluster up. Each round begins with another member as the leader."""
    rolled = Rolled()
    with start_line(lab, builder) as job:
        run_timed(lab, job)
        for number in range(1, runs + 1):
            leader = lab.machines[(number - 1) % len(lab.machines)]
            for roller in rollers:
                inspect(lab, builder, version)
                make_leader(lab, leader)
                timing, seen = _roll(lab, roller.prepare(lab, job.folder, number), job.folder)
                rolled.timings.setdefault(roller.name, []).append(timing)
                rolled.interruptions.setdefault(roller.name, []).append(seen)
                report(f"round {number}, {leader.name} leads: {roller.name} {_told(timing, seen)}")
        inspect(lab, builder, version)
    return rolled


def _roll(lab: Lab, job: Job, cluster: Path) -> tuple[Timing, Interruption]:
    os.sync()
    time.sleep(REST_S)
    began_s = time.monotonic()
    with writers_on(lab, cluster, f"bench/{began_s}") as written:
        time.sleep(LEAD_S)
        timing = run_timed(lab, job)
        time.sleep(TAIL_S)
    away = {machine.name: restart_of(machine, began_s) for machine in lab}
    return timing, judge(read_report(written), away)


@contextmanager
def writers_on(lab: Lab, cluster: Path, prefix: str) -> Iterator[Path]:
    """A writer on each member; their report is in the file that this gives, once the block has ended."""
    report = cluster / "written.json"
    report.unlink(missing_ok=True)
    hosts = [f"{machine.name}={machine.address}" for machine in lab]
    program = (sys.executable, "-m", "tests.bench.writers")
    process = lab.popen(
        [*program, prefix, cluster / "pki", report, *hosts], cwd=CHECKOUT, stdin=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline():  # nothing where it failed
            yield report
        said, errors = process.communicate(timeout=WRITERS_END_S)
    finally:
        process.kill()
    if process.returncode != 0:
        raise CannotRun(f"the writers: status {process.returncode}\n{said}{errors}")


def restart_of(machine: Machine, since_s: float) -> Away:
    """From its journal: systemd forgets when it stopped a unit. All machines have one kernel, and so one clock."""
    matches = f"UNIT=etcd.service MESSAGE_ID={STOPPING} MESSAGE_ID={STARTED}"
    lines = machine.run(f"journalctl --quiet --output=json {matches}").stdout.splitlines()
    events = [(int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, entry) for entry in map(json.loads, lines)]
    after = [(at_s, entry) for at_s, entry in events if at_s > since_s]
    if [entry["MESSAGE_ID"] for _, entry in after] != [STOPPING, STARTED]:
        said = "\n".join(f"{at_s:.3f} {entry['MESSAGE']}" for at_s, entry in after)
        raise CannotRun(f"etcd on {machine.name} was to be restarted once after {since_s:.3f}:\n{said}")
    return Away(*(at_s for at_s, _ in after))


def make_leader(lab: Lab, wanted: Machine) -> None:
    """So that in each round all contenders begin alike."""
    listed = wanted.run(f"{_ctl(wanted)} endpoint status --cluster --write-out=json").stdout
    members = {each["Status"]["header"]["member_id"]: each for each in json.loads(listed)}
    own = next(id_ for id_, each in members.items() if f"//{wanted.address}:" in each["Endpoint"])
    leader = members[own]["Status"]["leader"]
    if leader != own:
        leading = next(each for each in lab if f"//{each.address}:" in members[leader]["Endpoint"])
        leading.run(f"{_ctl(leading)} move-leader {own:x}")


def _ctl(machine: Machine) -> str:
    return f"{ETCDCTL} --endpoints={shlex.quote(f'https://{machine.address}:2379')}"


def _told(timing: Timing, seen: Interruption) -> str:
    asked = seen.acknowledged + seen.failed
    why = f" ({len(seen.failed_up)} with its member up: {seen.failed_up[0]})" if seen.failed_up else ""
    return (
        f"{timing.seconds:.2f} s, gap {seen.gap_s:.3f} s, {seen.failed} of {asked} writes failed{why}, "
        f"{len(seen.lost)} lost"
    )
