"""1 GiB of data: what uses the space, a compacted file, an old revision, and a defragmentation under writers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.bench.backups import CLUSTER, fill
from tests.bench.contenders import Etcdup
from tests.bench.course import inspect, run_timed, start_line
from tests.bench.interruption import Downtime, Interruption, measure_interruption
from tests.bench.provisions import etcdup_program
from tests.bench.rolls import writers_on
from tests.bench.stopwatch import Job, Timing
from tests.bench.writers import read_report
from tests.lab import Lab
from tests.support.etcd_binaries import etcd_binaries

ETCDCTL = "etcdctl defrag"
# The filler writes 16384 keys, one revision each, and none is compacted.
OLD_REVISION = "12000"

Report = Callable[[str], None]


@dataclass
class Measured:
    """Timings, the size of the compacted file in bytes, and what writers noticed of the defragmentations."""

    space: list[Timing] = field(default_factory=list)
    compactions: list[Timing] = field(default_factory=list)
    defragmentations: dict[str, list[Timing]] = field(default_factory=dict)
    interruptions: dict[str, list[Interruption]] = field(default_factory=dict)
    restores: list[Timing] = field(default_factory=list)
    written_bytes: int = 0


def measure_maintenance(lab: Lab, version: str, runs: int, report: Report) -> Measured:
    """Measure what reads and writes snapshot files, then defragmentations in turn, and at the end one restore."""
    measured, builder = Measured(), Etcdup(version)
    with lab.inside(), start_line(lab, builder) as job:
        run_timed(lab, job)
        fill(lab, job.folder)
        _back_up(lab, job)
        for number in range(1, runs + 1):
            _measure_files(lab, job, measured)
            _measure_defragmentations(lab, job, version, measured, number)
            report(f"round {number} of the maintenance is over")
        backup = next((job.folder / "store").glob(f"{CLUSTER}-*.json")).stem
        restore = _etcdup(job, "restore", backup, "--revision", OLD_REVISION, "--yes-restore", CLUSTER)
        measured.restores.append(run_timed(lab, restore))
        inspect(lab, builder, version)
    return measured


def _back_up(lab: Lab, job: Job) -> None:
    file = job.folder / "cluster.yaml"
    file.write_text(f"{file.read_text()}backup: {{to: {job.folder / 'store'}}}\n")
    run_timed(lab, _etcdup(job, "backup", "now"))


def _measure_files(lab: Lab, job: Job, measured: Measured) -> None:
    compacted = job.folder / "compacted.db"
    measured.space.append(run_timed(lab, _etcdup(job, "maintain", "space", "latest")))
    compact = _etcdup(job, "backup", "compact", "latest", "--out", str(compacted))
    measured.compactions.append(run_timed(lab, compact))
    measured.written_bytes = compacted.stat().st_size
    compacted.unlink()


def _measure_defragmentations(lab: Lab, job: Job, version: str, measured: Measured, number: int) -> None:
    """Defragment all members under writers. etcdup also proves each member, and compares the sizes."""
    pki = job.folder / "pki"
    argv = (
        etcd_binaries(version) / "etcdctl", "defrag", "--command-timeout=120s",
        "--endpoints=" + ",".join(f"https://{machine.address}:2379" for machine in lab),
        f"--cacert={pki / 'ca.pem'}", f"--cert={pki / 'clients/admin.pem'}",
        f"--key={pki / 'clients/admin-key.pem'}",
    )  # fmt: skip
    contenders = {
        ETCDCTL: replace(job, argv=argv),
        Etcdup.name: _etcdup(job, "maintain", "defrag", "--all", "--yes"),
    }
    # The first defragmentation of a round may find more to do, so they take turns.
    for who, defragmentation in list(contenders.items())[:: 1 if number % 2 else -1]:
        with writers_on(lab, job.folder, f"bench/{number}/{who}") as written:
            measured.defragmentations.setdefault(who, []).append(run_timed(lab, defragmentation))
        # No member stops, so each gap is the time that a member was blocked.
        none = {machine.name: Downtime(0, 0) for machine in lab}
        seen = measure_interruption(read_report(written), none)
        measured.interruptions.setdefault(who, []).append(seen)


def _etcdup(job: Job, *words: str) -> Job:
    return replace(job, argv=(etcdup_program(), *words))
