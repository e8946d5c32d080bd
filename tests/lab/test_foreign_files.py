"""Firewalls, certificates, flags and snapshots of other people: they work, or a refusal says so before a host changes.

The recipes of one test run one after the other on the same machines, because new machines take longer.
"""

import gzip
import shutil
import time
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.operator import Operator, host_traces, output_of
from tests.lab.test_bootstrap import PROVIDED, path_install
from tests.support.etcd_binaries import why_not
from tests.support.odd_certs import ODD_CERTS, OddCert
from tests.support.openssl import Ca, make_ca
from tests.support.texts import Texts

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


CUT = "; ".join(f"ip rule add ipproto 6 {end} 2380 blackhole" for end in ("sport", "dport"))
LINKED = CUT.replace("rule add", "rule delete")


@pytest.mark.in_turn(3, 5)
def test_a_firewall_between_peers_of_a_running_cluster(operator: Operator, lab: Lab, texts: Texts) -> None:
    """The rule counts from the moment in which etcd stops: most firewalls accept earlier connections."""
    operator.write(install=path_install(VERSION))
    operator.apply()
    wait = f"while systemctl is-active -q etcd; do sleep 0.02; done; {CUT}"
    lab["infra2"].run(f"systemd-run -q --no-block sh -c '{wait}'")
    operator.file.write_text(operator.file.read_text() + "etcd: {quota: 4GiB}\n")
    began = time.monotonic()
    done = operator.run("apply", "--yes")
    texts(done)
    assert time.monotonic() - began < 90
    # A member that has lost its peers is not stopped, and none of the others is.
    done = operator.run("restart", "infra2", "--yes")
    assert done.returncode != 0, output_of(done)
    lab["infra2"].run(LINKED)
    operator.apply()
    assert lab["infra2"].run("systemctl is-active etcd").stdout == "active\n"


def write_provided(operator: Operator, ca: Ca, odd: OddCert) -> None:
    shutil.copy(ca.cert, operator.folder / "ca.pem")
    addresses = ",IP:".join((*(each.address for each in operator.lab), "127.0.0.1"))
    odd.write(ca, operator.folder / "kubernetes.pem", operator.folder / "kubernetes-key.pem", addresses)


def refuse_files(operator: Operator, text: str, *words: str, code: int = 2) -> None:
    """Require that these words are refused with this text and a hint, and that no file of any host changes."""
    before = [host_traces(machine) for machine in operator.lab]
    done = operator.run(*words)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, output_of(done)
    assert text in said, output_of(done)
    assert "Traceback" not in said
    assert [host_traces(machine) for machine in operator.lab] == before, text


@pytest.mark.in_turn(4, 5)
def test_files_that_etcd_or_etcdup_cannot_use(operator: Operator, lab: Lab, tmp_path: Path) -> None:
    """Certificates, flags and snapshots are refused before a host changes, or they work."""
    ca = make_ca(tmp_path / "authority")
    plain = path_install(VERSION)
    operator.write(install=plain, more=PROVIDED)
    for name in (
        "Ed25519",
        "P-521",
        "key usage of openssl's recipe",
        "secp256k1",
        "unknown critical extension",
    ):
        write_provided(operator, ca, ODD_CERTS[name])
        refuse_files(operator, ODD_CERTS[name].fault, "apply", "--yes")
    write_provided(operator, ca, ODD_CERTS["RSA"])
    good = {name: (operator.folder / name).read_bytes() for name in ("ca.pem", "kubernetes.pem")}
    (operator.folder / "kubernetes.pem").write_bytes(good["kubernetes.pem"].decode().encode("utf-16"))
    refuse_files(operator, "kubernetes.pem", "apply", "--yes")
    (operator.folder / "kubernetes.pem").write_bytes(good["kubernetes.pem"][:-40])
    refuse_files(operator, "kubernetes.pem", "apply", "--yes")
    (operator.folder / "kubernetes.pem").write_bytes(b"\xef\xbb\xbf" + good["kubernetes.pem"])
    refuse_files(operator, "byte-order mark", "apply", "--yes")
    (operator.folder / "kubernetes.pem").write_bytes(good["kubernetes.pem"])
    for flags in (
        "max-request-byte: 10485760",
        "enable-v2: true",
        "log-levle: warn",
    ):
        operator.write(install=plain, more=f"{PROVIDED}etcd: {{extra: {{{flags}}}}}\n")
        refuse_files(operator, flags.partition(":")[0], "apply", "--yes")
    # What Go reads is written in plain form.
    (operator.folder / "ca.pem").write_bytes(good["ca.pem"].replace(b"\n", b"\r\n"))
    (operator.folder / "kubernetes.pem").write_bytes(b"Bag Attributes\n" + good["kubernetes.pem"])
    operator.write(install=plain, more=f"{PROVIDED}etcd: {{extra: {{max-request-bytes: 1e7}}}}\n")
    operator.apply()
    assert lab["infra1"].run("grep MAX_REQUEST /etc/etcd/etcd.conf").stdout == (
        'ETCD_MAX_REQUEST_BYTES="10000000"\n'
    )
    operator.ctl("put", "key", "value")
    snapshot = operator.folder / "s.db"
    operator.ctl("snapshot", "save", str(snapshot))
    content = snapshot.read_bytes()
    files = {
        "s.db.gz": gzip.compress(content),
        "raw.db": content[:-32],
        "half.db": content[: len(content) // 1024 * 512],
        "empty.db": b"",
        "age.db": b"age-encryption.org/v1\n" + content,
        "more.db": content + b"x" * 100,
    }
    for name, data in files.items():
        (operator.folder / name).write_bytes(data)
        refuse_files(operator, name, "restore", name, "--yes-restore", "prod", code=4)
    (operator.folder / "member/snap").mkdir(parents=True)
    refuse_files(operator, "member", "restore", "member", "--yes-restore", "prod", code=4)
    operator.health()
