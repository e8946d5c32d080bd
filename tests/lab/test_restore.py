"""A snapshot becomes the cluster again: on its own hosts, cut again and again, then on five and on three."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.attended import apply_cut
from tests.lab.operator import HEALTHY, Operator, said
from tests.lab.test_membership import nth, want
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

SURE = ("--yes-restore", "prod")
# Where it is killed, one after the other: each time the same restore goes on.
CUTS = ("StageRestore", "StopMembers", "PlaceData", "start")


def test_the_same_hosts_then_five_then_three(operator: Operator) -> None:
    for _ in range(2):
        operator.lab.add_machine()
    operator.lab.wait_ssh()
    want(operator, nth(operator, 1, 2, 3))
    operator.apply()
    operator.ctl("put", "greeting", "kept")
    path = snapshot(operator)
    operator.ctl("put", "greeting", "lost")
    before = revision(operator)

    for step in CUTS:
        apply_cut(operator, step, words=("restore", str(path)), sure=SURE)
        middle = operator.run("apply", "--yes")
        assert middle.returncode in (0, 4), said(middle)
    done = restore(operator, path)
    assert "kube-apiserver" in done.stderr, said(done)
    first = revision(operator)
    assert first > before
    # A watcher that goes on from what it knew is told that it has to begin anew, rather than miss something (rule 58).
    gone = operator.run("ctl", "--", "get", "greeting", f"--rev={before}")
    assert "required revision has been compacted" in gone.stderr, said(gone)
    for machine in operator.lab.machines[:3]:
        assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
        assert machine.run("stat -c '%U:%G %a' /var/lib/etcd /var/lib/etcd/member").stdout.split("\n")[
            :2
        ] == [
            "etcd:etcd 700",
            "etcd:etcd 700",
        ]

    want(operator, nth(operator, 1, 2, 3, 4, 5))
    restore(operator, path)
    assert revision(operator) > first
    assert len(operator.status()["members"]) == 5
    want(operator, nth(operator, 1, 4, 5))
    restore(operator, path, "--again")
    assert revision(operator) > first
    for machine in operator.lab.machines[1:3]:
        assert_retired_again(machine.run("ls -d /var/lib/etcd.aside-*").stdout)
        assert machine.run("pgrep -x etcd", check=False).stdout == ""
    operator.lab.each(lambda machine: machine.kill())
    operator.lab.each(lambda machine: machine.start())
    operator.lab.wait_ssh()
    operator.wait_healthy()
    assert operator.ctl("get", "greeting", "--print-value-only").strip() == "kept"


def assert_retired_again(listed: str) -> None:
    """The data of three clusters in turn lies beside: nothing was deleted."""
    assert len(listed.split()) == 3, listed


def restore(operator: Operator, path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    done = operator.run("restore", str(path), *SURE, *more)
    assert done.returncode == 0, said(done)
    assert done.stdout.rstrip().endswith(HEALTHY), said(done)
    assert operator.ctl("get", "greeting", "--print-value-only").strip() == "kept"
    assert "nothing to do" in operator.apply()
    return done


def revision(operator: Operator) -> int:
    answer = json.loads(operator.ctl("get", "greeting", "--write-out=json"))
    return int(answer["header"]["revision"])


def snapshot(operator: Operator) -> Path:
    """By etcdctl on a member's host, from that member alone (rule 53)."""
    machine = operator.lab.machines[0]
    pki = "/etc/etcd/pki"
    machine.run(
        f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.pem --cert={pki}/server.pem "
        f"--key={pki}/server-key.pem snapshot save /root/snapshot.db"
    )
    path = operator.folder / "snapshot.db"
    path.write_bytes((machine.root / "root/snapshot.db").read_bytes())
    return path
