"""`python -m tests.lab up`: a lab to look around in, until Ctrl-C. `drill`: the worst day, played in one."""

import argparse
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab import OPER_PASSWORD, Lab, LabError, why_not
from tests.lab.lost_quorum_drill import run_drill

TALK = """\
{count} machines, ready in {seconds:.1f} s. Users: root, admin (sudo), oper (sudo asks: {password}), nosudo.

{machines}

A shell beside them:   nsenter --net={namespace} bash
There, into one:       ssh -F {ssh_config} {first}
Debian's etcd:         apt-get update && apt-get install etcd-server     (on a machine, from {packages})

cluster.yaml:

{yaml}
Ctrl-C takes it all away.
"""


def up(count: int) -> None:
    started = time.monotonic()
    with Lab(machines=count) as lab:
        lab.serve_packages()
        print(_talk(lab, time.monotonic() - started), flush=True)
        signal.pause()


def drill() -> None:
    with Lab(machines=3) as lab, TemporaryDirectory(prefix="etcdup-drill-") as folder:
        run_drill(lab, Path(folder))


def _talk(lab: Lab, seconds: float) -> str:
    return TALK.format(
        count=len(lab.machines), seconds=seconds, password=OPER_PASSWORD, ssh_config=lab.ssh_config,
        machines="\n".join(f"  {machine.name:10} {machine.address}" for machine in lab),
        namespace=lab.workspace.namespace.path, first=lab.machines[0].name, packages=lab.workspace.packages_url,
        yaml=lab.cluster_yaml(),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    bring_up = verbs.add_parser("up", help="bring machines up, and stay")
    bring_up.add_argument("--machines", type=int, default=3, metavar="N")
    verbs.add_parser("drill", help="play docs/guides/lost-quorum.md on three machines")
    arguments = parser.parse_args()
    if reason := why_not():
        print(f"no lab here: {reason}", file=sys.stderr)
        return 1
    try:
        if arguments.verb == "drill":
            drill()
        else:
            up(arguments.machines)
    except LabError as error:
        print(f"the drill failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
