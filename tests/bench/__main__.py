"""`python -m tests.bench`: measure etcdup and its contenders in one run, and print the speed table.

Exit codes: 0: all targets are met. 1: a target is not met. 2: the bench could not run.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

from tests.bench.adoptions import measure_adoptions
from tests.bench.audits import measure_checks
from tests.bench.backups import ETCDCTL, STORES, WRITTEN, default_store, measure_backups
from tests.bench.contenders import Ansible, Contender, Etcdup, Shell
from tests.bench.errors import CannotRun
from tests.bench.interruption import Interruption
from tests.bench.maintenance import ETCDCTL as ETCDCTL_DEFRAG
from tests.bench.maintenance import measure_maintenance
from tests.bench.roll_table import roll_verdicts, show_interruptions
from tests.bench.rollers import AnsibleRoll, EtcdupRoll, SystemctlRoll
from tests.bench.rolls import measure_rolls
from tests.bench.rounds import Measured, measure_rounds
from tests.bench.startup import BARE, measure_startup
from tests.bench.verdict import Verdict, Work, ratio, show_timings, show_verdicts
from tests.lab import Lab, LabError, why_not
from tests.support import etcd_binaries

VERSIONS = ("3.6.14", "3.5.33", "3.4.23")
PARTS = ("bootstrap", "idle", "startup", "roll", "check", "backup", "restore", "adopt", "maintain")
BOOTSTRAP = "three fresh hosts to a healthy TLS cluster"
IDLE = "the same again, with nothing to do"
STARTUP = "startup"
CHECK = "check of three hosts"
OBSERVATION = "observation of three hosts"
BACKUP = "backup of 1 GiB to S3"
RESTORE = "restore of 1 GiB to three hosts"
ADOPT = "adopt of three hosts"
SPACE = "what uses the space of 1 GiB"
COMPACT = "a compacted file of 1 GiB"
REWIND = "restore of an old revision of 1 GiB"
DEFRAG = "defragmentation of three members with 1 GiB"
ROLL = "restart of 3 under writers"
OTHERS = {"shell": Shell.name, "ansible": Ansible.name}
IDLE_REPEATS = 3  # a bootstrap takes long, an apply with nothing to do does not


def main() -> int:
    arguments = _arguments()
    print(_circumstances(), flush=True)
    works: list[Work] = []
    verdicts: list[Verdict] = []
    seen: dict[str, list[Interruption]] = {}
    try:
        if arguments.only in (None, "startup"):
            _add_startup(works, verdicts)
        version = "" if arguments.only == "startup" else _version(arguments.etcd)
        if arguments.only in (None, "bootstrap", "idle"):
            without = {OTHERS[name] for name in arguments.without}
            _add_rounds(arguments.runs, version, arguments.only, without, works, verdicts)
        if arguments.only in (None, "check"):
            _add_checks(arguments.runs, version, works, verdicts)
        if arguments.only in (None, "roll"):
            seen = _add_rolls(arguments.runs, version, works, verdicts)
        if arguments.only in (None, "backup", "restore"):
            _add_backups(
                arguments.runs, version, arguments.only, arguments.s3 or default_store(), works, verdicts
            )
        if arguments.only in (None, "adopt"):
            _add_adoptions(arguments.runs, version, works, verdicts)
        if arguments.only in (None, "maintain"):
            _add_maintenance(arguments.runs, version, works, verdicts)
    except (CannotRun, LabError, etcd_binaries.NoBinaries) as error:
        print(f"the bench could not run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    tables = [
        show_timings(works),
        *([show_interruptions(ROLL, seen)] if seen else []),
        show_verdicts(verdicts),
    ]
    print("\n" + "\n\n".join(tables))
    return 0 if all(verdict.met for verdict in verdicts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="rounds on fresh machines (default 3)"
    )
    parser.add_argument("--only", choices=PARTS, help="measure one part only")
    parser.add_argument(
        "--without",
        choices=OTHERS,
        action="append",
        default=[],
        help="do not measure this contender (can be repeated)",
    )
    parser.add_argument(
        "--s3", choices=STORES, help=f"S3 server for the backups (default: {STORES[0]} if Go can build it)"
    )
    parser.add_argument(
        "--etcd",
        choices=etcd_binaries.VERSIONS,
        help=f"version of etcd (default: the first available of {VERSIONS})",
    )
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be 1 or more")
    return arguments


def _circumstances() -> str:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load} at the start"


@contextmanager
def three_machines() -> Iterator[Lab]:
    """Yield a lab. Raise CannotRun if this computer cannot run one."""
    if reason := why_not():
        raise CannotRun(reason)
    with Lab(machines=3) as lab:
        yield lab


def _add_startup(works: list[Work], verdicts: list[Verdict]) -> None:
    work = Work(STARTUP, measure_startup())
    works.append(work)
    bare = work.median_s(BARE)
    for who in work.timings:
        if who != BARE:
            more_ms = (work.median_s(who) - bare) * 1000
            verdicts.append(Verdict(f"{who}, more than {BARE}", more_ms, 150, "ms"))


def _add_rounds(
    runs: int,
    version: str,
    only: str | None,
    without: Collection[str],
    works: list[Work],
    verdicts: list[Verdict],
) -> None:
    measured = _measure(runs, version, only, without)
    if only in (None, "bootstrap"):
        work = Work(BOOTSTRAP, measured.first)
        works.append(work)
        verdicts += _ratios(work, {Shell.name: 1.25, Ansible.name: 1 / 6})
    if only in (None, "idle"):
        work = Work(IDLE, {who: timings for who, timings in measured.again.items() if timings})
        works.append(work)
        verdicts += _ratios(work, {Ansible.name: 1 / 15})
        verdicts.append(Verdict(f"{IDLE}: etcdup", work.median_s("etcdup"), 1.0, "s"))


def _ratios(work: Work, limits: dict[str, float]) -> list[Verdict]:
    """Return the ratios of etcdup to the contenders that were measured."""
    return [ratio(work, Etcdup.name, who, limit) for who, limit in limits.items() if who in work.timings]


def _measure(runs: int, version: str, only: str | None, without: Collection[str]) -> Measured:
    makes: list[Callable[[str], Contender]] = [
        each
        for each in (Etcdup, Shell, Ansible)
        if each.name not in without and (only, each) != ("idle", Shell)
    ]
    contenders = [make(version) for make in makes]
    again = {} if only == "bootstrap" else {"etcdup": IDLE_REPEATS, "Ansible": 1}
    with three_machines() as lab:
        print(f"etcd {version}, {runs} rounds", flush=True)
        return measure_rounds(lab, contenders, version, runs, again, lambda line: print(line, flush=True))


def _add_checks(runs: int, version: str, works: list[Work], verdicts: list[Verdict]) -> None:
    with three_machines() as lab:
        checks, observations = measure_checks(lab, version, runs)
    work = Work(CHECK, {"etcdup": checks})
    works += [work, Work(OBSERVATION, observations)]
    verdicts.append(Verdict(f"{CHECK}: etcdup", work.median_s("etcdup"), 3.0, "s"))
    for verb, timings in observations.items():
        cpu_s = median(timing.cpu_s for timing in timings)
        verdicts.append(Verdict(f"{OBSERVATION}: {verb}, CPU time of etcdup", cpu_s, 0.6, "s"))


def _add_rolls(
    runs: int, version: str, works: list[Work], verdicts: list[Verdict]
) -> dict[str, list[Interruption]]:
    rollers = (EtcdupRoll(version), SystemctlRoll(), AnsibleRoll())
    with three_machines() as lab:
        print(f"{ROLL}: etcd {version}, {runs} rounds", flush=True)
        rolled = measure_rolls(
            lab, Etcdup(version), rollers, version, runs, lambda line: print(line, flush=True)
        )
    works.append(Work(ROLL, rolled.timings))
    verdicts.extend(roll_verdicts(ROLL, "etcdup", rolled.interruptions["etcdup"]))
    return rolled.interruptions


def _add_backups(
    runs: int, version: str, only: str | None, store: str, works: list[Work], verdicts: list[Verdict]
) -> None:
    """Measure backups and one restore. A restore has no contender and takes minutes. Its row shows the RTO."""
    with three_machines() as lab:
        print(f"{BACKUP} ({store}): etcd {version}, {runs} rounds", flush=True)
        measured = measure_backups(
            lab, version, 1 if only == "restore" else runs, store, restores=0 if only == "backup" else 1,
            report=lambda line: print(line, flush=True),
        )  # fmt: skip
    if only != "restore":
        work = Work(BACKUP, measured.backups)
        works.append(work)
        verdicts.append(ratio(work, WRITTEN, ETCDCTL, 1 / 0.8))
        verdicts.append(Verdict(f"{BACKUP}: etcdup, memory", _peak_mib(work), 128, "MiB"))
    if measured.restores:
        works.append(Work(RESTORE, {Etcdup.name: measured.restores}))


def _add_adoptions(runs: int, version: str, works: list[Work], verdicts: list[Verdict]) -> None:
    with three_machines() as lab:
        work = Work(ADOPT, {Etcdup.name: measure_adoptions(lab, version, runs)})
    works.append(work)
    verdicts.append(Verdict(f"{ADOPT}: etcdup", work.median_s(Etcdup.name), 1.5, "s"))


def _add_maintenance(runs: int, version: str, works: list[Work], verdicts: list[Verdict]) -> None:
    with three_machines() as lab:
        measured = measure_maintenance(lab, version, runs, lambda line: print(line, flush=True))
    space, rewind = (
        Work(SPACE, {Etcdup.name: measured.space}),
        Work(REWIND, {Etcdup.name: measured.restores}),
    )
    compact = Work(COMPACT, {Etcdup.name: measured.compactions})
    works += [space, compact, rewind, Work(DEFRAG, measured.defragmentations)]
    ms_per_mb = compact.median_s(Etcdup.name) * 1e9 / measured.written_bytes
    verdicts += [
        Verdict(f"{SPACE}: etcdup", space.median_s(Etcdup.name), 20, "s"),
        Verdict(f"{SPACE}: etcdup, memory", _peak_mib(space), 128, "MiB"),
        Verdict(f"{COMPACT}: etcdup, for each MB (60 MB/s)", ms_per_mb, 1000 / 60, "ms"),
        Verdict(f"{COMPACT}: etcdup, memory", _peak_mib(compact), 256, "MiB"),
        Verdict(f"{REWIND}: etcdup, memory", _peak_mib(rewind), 256, "MiB"),
        ratio(works[-1], Etcdup.name, ETCDCTL_DEFRAG, 1.5),
        _blocking(measured.interruptions),
    ]


def _blocking(seen: Mapping[str, Sequence[Interruption]]) -> Verdict:
    """Return how long a defragmentation blocks a member, in relation to etcdctl. A median over the rounds."""
    gaps = {who: median(each.up_gap_s for each in rounds) for who, rounds in seen.items()}
    shown = ", ".join(f"{who} {gap:.2f} s" for who, gap in gaps.items())
    return Verdict(
        f"{DEFRAG}: longest wait of a writer, {shown}", gaps[Etcdup.name] / gaps[ETCDCTL_DEFRAG], 1.25, "x"
    )


def _peak_mib(work: Work) -> float:
    return max(timing.peak_mib for timing in work.timings[Etcdup.name])


def _version(wanted: str | None) -> str:
    """Return the wanted version, or the first one that this computer has or can build."""
    versions = (wanted,) if wanted else VERSIONS
    for version in versions:
        if etcd_binaries.why_not(version) is None:
            return version
    raise CannotRun(etcd_binaries.why_not(versions[0]) or "")


if __name__ == "__main__":
    sys.exit(main())
