"""`python -m tests.lab up`: run a lab to try things by hand, until Ctrl-C. `drill`: run the lost-quorum guide.

`prepare` builds the images of the machines, the package repository and kube-bench before the tests start.
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab import OPER_PASSWORD, Lab, LabError, why_not
from tests.lab.container_image import container_image
from tests.lab.lost_quorum_drill import run_drill
from tests.lab.package_repository import package_repository
from tests.support.kube_bench import NoKubeBench, kube_bench_folder

INTRODUCTION = """\
{count} machines, ready after {seconds:.1f} s.
Users: root, admin (sudo), oper (sudo with the password: {password}), nosudo.

{machines}

Operator's shell:      nsenter --net={namespace} bash
Log in from there:     ssh -F {ssh_config} {first}
Debian's etcd:         apt-get update && apt-get install etcd-server     (on a machine; the repository is {packages})

cluster.yaml:

{yaml}
Ctrl-C removes the machines.
"""


def up(count: int) -> None:
    started = time.monotonic()
    with Lab(machines=count) as lab:
        lab.serve_packages()
        print(_introduction(lab, time.monotonic() - started), flush=True)
        signal.pause()


def drill() -> None:
    with Lab(machines=3) as lab, TemporaryDirectory(prefix="etcdup-drill-") as folder:
        run_drill(lab, Path(folder))


def prepare() -> None:
    """Build what takes minutes. Without kube-bench its test says why it is skipped."""
    package_repository()
    container_image()
    try:
        kube_bench_folder()
    except NoKubeBench as error:
        print(f"kube-bench is not available: {error}", file=sys.stderr)


def _introduction(lab: Lab, seconds: float) -> str:
    return INTRODUCTION.format(
        count=len(lab.machines), seconds=seconds, password=OPER_PASSWORD, ssh_config=lab.ssh_config,
        machines="\n".join(f"  {machine.name:10} {machine.address}" for machine in lab),
        namespace=lab.workspace.namespace.path, first=lab.machines[0].name, packages=lab.workspace.packages_url,
        yaml=lab.cluster_yaml(),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    bring_up = verbs.add_parser("up", help="start machines and keep them until Ctrl-C")
    bring_up.add_argument("--machines", type=int, default=3, metavar="N")
    verbs.add_parser(
        "prepare", help="build the images of the machines, the package repository and kube-bench"
    )
    verbs.add_parser("drill", help="run the commands of docs/guides/lost-quorum.md on three machines")
    arguments = parser.parse_args()
    if reason := why_not():
        print(f"the lab cannot run on this computer: {reason}", file=sys.stderr)
        return 1
    try:
        if arguments.verb == "prepare":
            prepare()
        elif arguments.verb == "drill":
            drill()
        else:
            up(arguments.machines)
    except LabError as error:
        print(f"the lab failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
