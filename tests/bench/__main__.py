"""`python -m tests.bench`: the speed table, side by side in one run.

Exit codes: 0 every target is met, 1 one is not, 2 it could not be run.
"""

import argparse
import os
import sys

from tests.bench.contenders import Ansible, Contender, Etcdup, Shell
from tests.bench.errors import CannotRun
from tests.bench.rounds import Measured, measure_rounds
from tests.bench.startup import BARE, measure_startup
from tests.bench.verdict import Verdict, Work, ratio, show_timings, show_verdicts
from tests.lab import Lab, LabError, why_not
from tests.support import etcd_binaries

VERSIONS = ("3.6.14", "3.5.33", "3.4.23")
PARTS = ("bootstrap", "idle", "startup")
BOOTSTRAP = "three fresh hosts to a healthy TLS cluster"
IDLE = "the same again, with nothing to do"
STARTUP = "startup"
IDLE_REPEATS = 3  # a round's bootstrap is dear, another look at an idle cluster is not


def main() -> int:
    arguments = _arguments()
    print(_circumstances(), flush=True)
    works: list[Work] = []
    verdicts: list[Verdict] = []
    try:
        if arguments.only in (None, "startup"):
            _add_startup(works, verdicts)
        if arguments.only != "startup":
            _add_rounds(arguments.runs, arguments.only, works, verdicts)
    except (CannotRun, LabError, etcd_binaries.NoBinaries) as error:
        print(f"the bench could not be run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"\n{show_timings(works)}\n\n{show_verdicts(verdicts)}")
    return 0 if all(verdict.met for verdict in verdicts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="rounds on fresh machines (default 3)"
    )
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be 1 or more")
    return arguments


def _circumstances() -> str:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load} at the start"


def _add_startup(works: list[Work], verdicts: list[Verdict]) -> None:
    work = Work(STARTUP, measure_startup())
    works.append(work)
    bare = work.median_s(BARE)
    for who in work.timings:
        if who != BARE:
            more_ms = (work.median_s(who) - bare) * 1000
            verdicts.append(Verdict(f"{who}, more than {BARE}", more_ms, 150, "ms"))


def _add_rounds(runs: int, only: str | None, works: list[Work], verdicts: list[Verdict]) -> None:
    measured = _measure(runs, only)
    if only in (None, "bootstrap"):
        work = Work(BOOTSTRAP, measured.first)
        works.append(work)
        verdicts.append(ratio(work, "etcdup", "shell script", 1.25))
        verdicts.append(ratio(work, "etcdup", "Ansible", 1 / 6))
    if only in (None, "idle"):
        work = Work(IDLE, {who: timings for who, timings in measured.again.items() if timings})
        works.append(work)
        verdicts.append(ratio(work, "etcdup", "Ansible", 1 / 15))
        verdicts.append(Verdict(f"{IDLE}: etcdup", work.median_s("etcdup"), 1.0, "s"))


def _measure(runs: int, only: str | None) -> Measured:
    if reason := why_not():
        raise CannotRun(reason)
    version = _version()
    contenders: list[Contender] = [Etcdup(version), Shell(version), Ansible(version)]
    if only == "idle":
        contenders = [each for each in contenders if not isinstance(each, Shell)]
    again = {} if only == "bootstrap" else {"etcdup": IDLE_REPEATS, "Ansible": 1}
    with Lab(machines=3) as lab:
        print(f"etcd {version}, {runs} rounds", flush=True)
        return measure_rounds(lab, contenders, version, runs, again, lambda line: print(line, flush=True))


def _version() -> str:
    """The first that this computer has or can build."""
    for version in VERSIONS:
        if etcd_binaries.why_not(version) is None:
            return version
    raise CannotRun(etcd_binaries.why_not(VERSIONS[0]) or "")


if __name__ == "__main__":
    sys.exit(main())
