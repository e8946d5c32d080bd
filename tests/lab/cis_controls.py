"""CIS controls of a machine's etcd: as kube-bench reports them, if it can be built, and as this module tests them."""

import json
import warnings
from functools import cache
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.shell import run
from tests.support.kube_bench import BENCHMARK, NoKubeBench, kube_bench_folder

SECTION_2 = tuple(f"2.{number}" for number in range(1, 8))
DATA_CONTROLS = ("1.1.11", "1.1.12")
KUBE_BENCH_DIR = "/opt/kube-bench"


def failed_controls(machine: Machine) -> set[str]:
    """Return the failed controls of section 2, 1.1.11 and 1.1.12.

    If kube-bench is available, its result for section 2 must be the same.
    """
    own = {control for control, held in _run_own_checks(machine).items() if not held}
    reported = _run_kube_bench(machine)
    assert reported is None or reported == own - set(DATA_CONTROLS), (reported, own)
    return own


def _run_kube_bench(machine: Machine) -> set[str] | None:
    """Return the controls of section 2 that kube-bench reports as failed, or None without kube-bench.

    kube-bench tests 1.1.11 and 1.1.12 only on the machine of an API server, and only if etcd has flags.
    """
    folder, why = _folder()
    if folder is None:
        warnings.warn(f"kube-bench was not run: {why}", stacklevel=2)
        return None
    target = Path(f"{machine.root}{KUBE_BENCH_DIR}")
    if not target.exists():
        run(["cp", "-r", f"{folder}/.", target])
        libraries = f"cp -d {KUBE_BENCH_DIR}/root/lib/*/libproc2.so.0* /lib/$(uname -m)-linux-gnu/"
        machine.run(f"cp {KUBE_BENCH_DIR}/root/bin/ps /bin/ && {libraries}")
    output = machine.run(
        f"{KUBE_BENCH_DIR}/kube-bench run --targets etcd --benchmark {BENCHMARK} --config-dir {KUBE_BENCH_DIR}/cfg "
        f"--config {KUBE_BENCH_DIR}/cfg/config.yaml --json"
    ).stdout
    results = {
        each["test_number"]: each["status"]
        for controls in json.loads(output)["Controls"]
        for group in controls["tests"]
        for each in group["results"]
    }
    assert tuple(results) == SECTION_2, output
    return {control for control, status in results.items() if status != "PASS"}


@cache
def _folder() -> tuple[Path | None, str]:
    try:
        return kube_bench_folder(), ""
    except NoKubeBench as error:
        return None, str(error)


def _run_own_checks(machine: Machine) -> dict[str, bool]:
    """Test each control as cfg/cis-1.9/etcd.yaml and master.yaml of kube-bench do.

    A flag is searched in `ps`, then its variable in the environment of the process. `stat` gives the mode and the
    owner of the data directory.
    """
    shown = machine.run(
        "pid=$(systemctl show etcd --property=MainPID --value);"
        "tr '\\0' '\\n' </proc/$pid/cmdline; tr '\\0' '\\n' </proc/$pid/environ"
    ).stdout.splitlines()

    def value(flag: str) -> str | None:
        names = (f"--{flag}=", f"ETCD_{flag.upper().replace('-', '_')}=")
        return next((line.partition("=")[2] for line in shown if line.startswith(names)), None)

    mode, owner = machine.run(f"stat -c '%a %U:%G' {value('data-dir')}").stdout.split()
    return {
        "2.1": value("cert-file") is not None and value("key-file") is not None,
        "2.2": value("client-cert-auth") == "true",
        "2.3": value("auto-tls") in (None, "false"),
        "2.4": value("peer-cert-file") is not None and value("peer-key-file") is not None,
        "2.5": value("peer-client-cert-auth") == "true",
        "2.6": value("peer-auto-tls") in (None, "false"),
        "2.7": value("trusted-ca-file") is not None,
        "1.1.11": int(mode, 8) & ~0o700 == 0,
        "1.1.12": owner == "etcd:etcd",
    }
