"""`etcdup certs` on real members: the certificates that they serve before and after."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.signing import key_pem
from etcdup.ops.pki.x509 import parse_key
from etcdup.remote.etcd.request import why_no_answer
from etcdup.remote.etcd.tls import context_for_ca
from tests.cli.conftest import (
    VERSION,
    Etcdup,
    assert_nothing_to_do,
    demo_folder,
    demo_pids,
    demo_spec,
    lines_with,
    start_demo,
)
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not
from tests.support.expired_certs import issue_expired_leaves
from tests.support.handshake_clients import HandshakeClients
from tests.support.texts import Texts

MEMBER_ROLES = {"server/infra2", "peer/infra2", "health/infra2"}

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))


@pytest.fixture(scope="module")
def up(etcdup: Etcdup) -> Etcdup:
    start_demo(etcdup)
    return etcdup


def list_certs(etcdup: Etcdup, *options: str, code: int = 0) -> dict[str, Any]:
    done = etcdup("certs", "list", "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_each_certificate_is_listed_with_all_its_locations(up: Etcdup) -> None:
    told = list_certs(up)
    rows = {role: row for row in told["certificates"] for role in row["roles"]}
    members = {f"{kind}/infra{n}" for kind in ("server", "peer", "health") for n in (1, 2, 3)}
    assert set(rows) == members | {"ca", "peer-ca", "admin"}
    for kind in ("server", "peer"):
        here, there, *ports = rows[f"{kind}/infra2"]["seen"]
        assert (here, there, len(ports)) == ("here", "on infra2", 1)
        assert ports[0].startswith("served on infra2:")
        assert rows[f"{kind}/infra2"]["usages"] == ["serverAuth", "clientAuth"]
    assert [link["port"] for link in told["links"]].count("peer") == 6
    assert len(told["links"]) == 12
    assert all(link["ok"] for link in told["links"])
    assert told["raft"].count("follows") == 2


def test_a_peer_port_rejects_a_certificate_with_another_name(up: Etcdup) -> None:
    """A certificate of the same CA with another name: open connections stay open, a new one is rejected."""
    peer, health = (demo_folder(up) / f"pki/members/infra2/{kind}" for kind in ("peer", "health"))
    theirs = {f"{peer}{end}": Path(f"{peer}{end}").read_bytes() for end in (".pem", "-key.pem")}
    for end in (".pem", "-key.pem"):
        Path(f"{peer}{end}").write_bytes(Path(f"{health}{end}").read_bytes())
    try:
        broken = [link for link in list_certs(up, code=1)["links"] if not link["ok"]]
    finally:
        for path, content in theirs.items():
            Path(path).write_bytes(content)
    assert {(link["from"], link["to"], link["port"]) for link in broken} == {
        ("infra2", "infra1", "peer"),
        ("infra2", "infra3", "peer"),
    }
    assert {link["why"] for link in broken} == {"it rejected the handshake: bad certificate"}
    assert list_certs(up)["well"]


def test_the_days_option_decides_the_exit_code(up: Etcdup) -> None:
    assert up("certs", "list", "--days", "300").returncode == 0
    done = up("certs", "list", "--days", "366")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "certificates need attention: 10 certificates to renew"


def test_provided_certificates_are_listed_as_well(up: Etcdup) -> None:
    """The same members, described as members with provided certificates."""
    kinds = (("", "server"), ("peer_", "peer"), ("client_", "health"))
    files = [
        f"{prefix}{what}: 'pki/members/{{name}}/{kind}{suffix}.pem'"
        for prefix, kind in kinds
        for what, suffix in (("cert", ""), ("key", "-key"))
    ]
    provided = f"tls: {{mode: provided, ca: pki/ca.pem, peer_ca: pki/ca.pem, {', '.join(files)}}}\n"
    managed = yaml_without_tls(demo_folder(up) / "cluster.yaml")
    file = demo_folder(up) / "provided.yaml"
    file.write_text(managed + provided)
    told = list_certs(up, "-f", str(file))
    rows = {role: row for row in told["certificates"] for role in row["roles"]}
    assert rows["health/infra1"]["roles"] == ["health/infra1", "admin"]
    assert [place.split()[0] for place in rows["peer/infra3"]["seen"]] == ["here", "on", "served"]
    assert list_certs(up, "-f", str(file), "--days", "366", code=1)["findings"] == []


def yaml_without_tls(file: Path) -> str:
    return "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("tls:"))


def test_all_leaves_are_renewed_without_a_restart(up: Etcdup) -> None:
    """No TLS handshake with the ports of two members fails during the renewal (rule 16)."""
    before = demo_pids(up)
    serials = {row["serial"] for row in list_certs(up)["certificates"] if not row["is_ca"]}
    spec, pki = demo_spec(up), demo_folder(up) / "pki"
    ports = [
        (host.address, port(host)) for host in spec.hosts[:2] for port in (spec.client_port, spec.peer_port)
    ]
    pair = (pki / "members/infra3/peer.pem", pki / "members/infra3/peer-key.pem")
    with HandshakeClients(pki / "ca.pem", *pair, ports) as greeters:
        for _ in range(3):
            done = up("certs", "renew", "--days", "100000", "--yes")
            assert done.returncode == 0, done.stderr
    assert greeters.failed == []
    assert {len(seen) for seen in greeters.serials.values()} == {4}, "the first and three new ones"
    assert min(greeters.handshakes.values()) > 50
    shown = [line.split() for line in done.stdout.splitlines() if " serves serial " in line]
    assert {line[0].split(":")[0] for line in shown} == {"infra1", "infra2", "infra3"}
    assert len(shown) == 6
    assert not serials & {line[3] for line in shown}
    assert demo_pids(up) == before
    assert not serials & {row["serial"] for row in list_certs(up)["certificates"]}


def test_without_a_due_certificate_each_port_is_still_proved(texts: Texts, up: Etcdup) -> None:
    done = up("certs", "renew", "--json")
    assert done.returncode == 0, done.stderr
    texts(lines_with("due", done.stderr))
    told = json.loads(done.stdout)
    assert (told["renewed"], told["steps_done"]) == ([], 0)
    assert [port["proved"] for port in told["ports"]] == [True] * 6
    assert [member["healthy"] for member in told["members"]] == [True] * 3


def test_without_a_confirmation_nothing_is_renewed(texts: Texts, up: Etcdup) -> None:
    done = up("certs", "renew", "--days", "100000")
    texts(done)
    assert list_certs(up)["well"]


def expire_all(etcdup: Etcdup) -> None:
    for _, path, content in issue_expired_leaves(demo_folder(etcdup) / "cluster.yaml"):
        Path(path).write_bytes(content)


def stop(etcdup: Etcdup) -> None:
    for pid in demo_pids(etcdup):
        os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)


def start(etcdup: Etcdup) -> None:
    for n in (1, 2, 3):
        subprocess.run(["sh", str(demo_folder(etcdup) / f"infra{n}/etc/start-etcd")], check=True, timeout=30)


@pytest.mark.parametrize("members", one_in_turn("restarted", "never restarted", "stopped"))
def test_a_cluster_whose_certificates_have_all_expired_is_repaired(up: Etcdup, members: str) -> None:
    expire_all(up)
    if members != "never restarted":
        stop(up)
    if members == "restarted":
        start(up)
    expired = list_certs(up, code=1)
    assert {row["days_left"] for row in expired["certificates"] if not row["is_ca"]} == {-36}
    before = demo_pids(up) if members != "stopped" else []
    done = up("certs", "renew", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    assert members == "stopped" or demo_pids(up) == before
    assert list_certs(up)["well"]
    assert_nothing_to_do(up)


def test_etcd_accepts_a_consumer_with_its_own_key(up: Etcdup) -> None:
    key, csr, out = (str(up.folder / name) for name in ("own.key", "own.csr", "away"))
    subject = ["-subj", "/CN=whatever", "-keyout", key, "-out", csr]
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", *subject], check=True, timeout=30
    )
    done = up("certs", "issue", "app", "--csr", csr, "--out", out)
    assert done.returncode == 0, done.stderr
    host = demo_spec(up).hosts[0]
    etcdctl = [
        f"{layout_of(demo_spec(up), host).current}/etcdctl",
        f"--endpoints={demo_spec(up).client_url(host)}",
    ]
    files = [f"--cacert={out}/ca.pem", f"--cert={out}/app.pem", f"--key={key}"]
    put = subprocess.run(
        [*etcdctl, *files, "put", "a", "b"], check=True, timeout=30, capture_output=True, text=True
    )
    assert put.stdout == "OK\n"
    consumer = next(row for row in list_certs(up)["certificates"] if row["roles"] == ["client/app"])
    assert (consumer["used_by"], consumer["seen"]) == (["the consumer app"], ["here"])

    assert up("certs", "issue", "app", "--csr", csr).returncode == 0
    told = [row for row in list_certs(up)["certificates"] if "app" in "".join(row["roles"])]
    assert [(row["roles"], row["in_use"]) for row in told] == [
        (["client/app"], True),
        (["replaced/app"], False),
    ]
    assert told[1]["serial"] == consumer["serial"]
    subprocess.run([*etcdctl, *files, "get", "a"], check=True, timeout=30)  # etcd takes the replaced one


def test_a_port_without_a_server_is_a_finding(up: Etcdup) -> None:
    pid = demo_pids(up)[2]
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    told = list_certs(up, code=1)
    assert told["findings"]
    assert {(link["from"], link["to"], link["port"]) for link in told["links"] if not link["ok"]} == {
        (source, "infra3", port) for source in ("infra1", "infra2") for port in ("client", "peer")
    }
    assert up("certs", "renew", "--yes").returncode == 0
    assert list_certs(up)["well"]


def test_revoked_certificates_are_rejected_without_a_restart(up: Etcdup) -> None:
    """A consumer and a member. The member gets a new pair first, and its peers accept that."""
    assert up("certs", "issue", "stolen").returncode == 0
    pids = demo_pids(up)
    for name, roles in (("stolen", {"client/stolen"}), ("infra2", MEMBER_ROLES)):
        done = up("certs", "revoke", name, "--yes", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert {each["role"] for each in told["revoked"]} >= roles
        tried = [each for each in told["handshakes"] if each["role"] in roles]
        assert {each["rejected"] for each in tried} == {True}
        assert len(tried) == 3 * len(roles)
    assert demo_pids(up) == pids
    told = list_certs(up)
    assert next(row for row in told["certificates"] if row["roles"] == ["client/stolen"])["revoked"]
    assert all(link["ok"] for link in told["links"])
    assert up("health").returncode == 0
    again = up("certs", "revoke", "stolen", "--yes")
    assert again.returncode == 0, again.stderr
    assert up("certs", "revoke", "unknown", "--yes").returncode == 2


def test_real_members_reject_the_keys_of_removed_members(up: Etcdup, tmp_path: Path) -> None:
    """A wrong passphrase of the CA key blocks no removal. The next apply with the right one revokes.

    Then copies of the certificates and keys from before open no connection.
    """
    spec, folder = demo_spec(up), demo_folder(up)
    stolen, key, file = tmp_path / "infra3", folder / "pki/ca-key.pem", folder / "cluster.yaml"
    shutil.copytree(folder / "pki/members/infra3", stolen)
    key.write_bytes(key_pem(parse_key(key, key.read_bytes(), None), "right passphrase"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(
        "".join(line for line in lines if "name: infra2" not in line and "name: infra3" not in line)
    )
    up.extra["ETCDUP_CA_PASSPHRASE"] = "wrong passphrase"
    done = up("apply", "--yes", "--consumers-have", "endpoints")
    assert done.returncode == 0, done.stderr
    assert not [*(folder / "infra2").rglob("*-key.pem"), *(folder / "infra3").rglob("*-key.pem")]
    assert [why_rejected(up, spec, "infra1", stolen, kind) for kind in ("server", "peer")] == ["", ""]
    listed = json.loads(up("certs", "list", "--json").stdout)
    assert [each for each in listed["certificates"] if "former/infra3/peer" in each["roles"]]
    assert "certificates-not-revoked" in up("check").stdout
    up.extra["ETCDUP_CA_PASSPHRASE"] = "right passphrase"
    done = up("apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert all(why_rejected(up, spec, "infra1", stolen, kind) for kind in ("server", "peer"))
    assert "certificates-not-revoked" not in up("check").stdout
    assert up("plan").returncode == 0


def why_rejected(up: Etcdup, spec: Spec, target: str, source: Path, kind: str) -> str:
    """Return why the port of a member does not answer a new connection with a certificate of another member."""
    host = spec.host(target)
    context = context_for_ca((demo_folder(up) / "pki/ca.pem").read_bytes())
    context.load_cert_chain(source / f"{kind}.pem", source / f"{kind}-key.pem")
    port = spec.peer_port(host) if kind == "peer" else spec.client_port(host)
    return asyncio.run(why_no_answer(host.address, port, host.address, context))
