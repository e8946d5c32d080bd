"""Rolling restarts of one cluster with writers: by etcdup, by a shell script and by Ansible in turn."""

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
from tests.bench.interruption import Downtime, Interruption, measure_interruption
from tests.bench.rollers import Roller
from tests.bench.stopwatch import Job, Timing
from tests.bench.writers import read_report
from tests.lab import Lab, Machine

CHECKOUT = Path(__file__).parents[2]
LEAD_S = 1.0
TAIL_S = 2.0  # a failure shortly after a contender has ended counts for it
REST_S = 1.0
WRITERS_END_S = 120.0  # all acknowledged writes are read back
ETCDCTL = (
    "/opt/etcd/current/etcdctl --cacert=/etc/etcd/pki/ca.pem --cert=/etc/etcd/pki/health.pem "
    "--key=/etc/etcd/pki/health-key.pem"
)
# Message IDs of systemd: it starts to stop a unit, and a unit is ready.
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STARTED = "39f53479d3a045ac8e11786248231fbf"


@dataclass
class Rolled:
    """Timings (CPU includes the writers') and effects on the writers, by contender."""

    timings: dict[str, list[Timing]] = field(default_factory=dict)
    interruptions: dict[str, list[Interruption]] = field(default_factory=dict)


def measure_rolls(
    lab: Lab, builder: Contender, rollers: Sequence[Roller], version: str, runs: int,
    report: Callable[[str], None],
) -> Rolled:  # fmt: skip
    """Measure `runs` rounds on one cluster, which `builder` makes. Each round starts with another leader."""
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
                report(f"round {number}, {leader.name} leads: {roller.name} {_summary(timing, seen)}")
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
    downtimes = {machine.name: restart_of(machine, began_s) for machine in lab}
    return timing, measure_interruption(read_report(written), downtimes)


@contextmanager
def writers_on(lab: Lab, cluster: Path, prefix: str) -> Iterator[Path]:
    """Run a writer on each member; yields a file that has their report after the block."""
    report = cluster / "written.json"
    report.unlink(missing_ok=True)
    hosts = [f"{machine.name}={machine.address}" for machine in lab]
    program = (sys.executable, "-m", "tests.bench.writers")
    process = lab.popen(
        [*program, prefix, cluster / "pki", report, *hosts], cwd=CHECKOUT, stdin=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline():  # an empty line means that the writers failed
            yield report
        output, errors = process.communicate(timeout=WRITERS_END_S)
    finally:
        process.kill()
    if process.returncode != 0:
        raise CannotRun(f"the writers failed: exit status {process.returncode}\n{output}{errors}")


def restart_of(machine: Machine, since_s: float) -> Downtime:
    """Return the downtime of a member from the journal of its machine.

    systemd itself does not keep the time of a stop. All machines have one kernel, and so one clock.
    """
    matches = f"UNIT=etcd.service MESSAGE_ID={STOPPING} MESSAGE_ID={STARTED}"
    lines = machine.run(f"journalctl --quiet --output=json {matches}").stdout.splitlines()
    events = [(int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, entry) for entry in map(json.loads, lines)]
    after = [(at_s, entry) for at_s, entry in events if at_s > since_s]
    if [entry["MESSAGE_ID"] for _, entry in after] != [STOPPING, STARTED]:
        logged = "\n".join(f"{at_s:.3f} {entry['MESSAGE']}" for at_s, entry in after)
        raise CannotRun(f"{machine.name}: etcd was not restarted exactly once after {since_s:.3f}:\n{logged}")
    return Downtime(*(at_s for at_s, _ in after))


def make_leader(lab: Lab, wanted: Machine) -> None:
    """Transfer leadership to this machine, so that all contenders start a round with the same leader."""
    listed = wanted.run(f"{_ctl(wanted)} endpoint status --cluster --write-out=json").stdout
    members = {each["Status"]["header"]["member_id"]: each for each in json.loads(listed)}
    own = next(id_ for id_, each in members.items() if f"//{wanted.address}:" in each["Endpoint"])
    leader = members[own]["Status"]["leader"]
    if leader != own:
        leading = next(each for each in lab if f"//{each.address}:" in members[leader]["Endpoint"])
        leading.run(f"{_ctl(leading)} move-leader {own:x}")


def _ctl(machine: Machine) -> str:
    return f"{ETCDCTL} --endpoints={shlex.quote(f'https://{machine.address}:2379')}"


def _summary(timing: Timing, seen: Interruption) -> str:
    writes = seen.acknowledged + seen.failed
    why = f" ({len(seen.failed_up)} to members that are up: {seen.failed_up[0]})" if seen.failed_up else ""
    return (
        f"{timing.seconds:.2f} s, gap {seen.gap_s:.3f} s, {seen.failed} of {writes} writes failed{why}, "
        f"{len(seen.lost)} lost"
    )
