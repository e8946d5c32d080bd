"""etcdup's own CA: what it makes holds before openssl, and nothing makes it twice."""

import fcntl
import os
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.certs import due, wanted_certs
from etcdup.core.spec import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki import Pki
from tests.ops.openssl import openssl

NOW = datetime.now(UTC).replace(microsecond=0)
PASSPHRASE = "correct horse battery"
VARIABLE = "ETCDUP_CA_PASSPHRASE"


def spec_of(*addresses: str, **tls: Any) -> Spec:
    hosts = [{"name": f"infra{n}", "address": address} for n, address in enumerate(addresses, 1)]
    return Spec.model_validate({"name": "prod", "version": "3.6.14", "hosts": hosts, "tls": tls})


THREE = spec_of("10.0.0.1", "10.0.0.2", "10.0.0.3")
ROLES = [each.role for each in wanted_certs(THREE)]


def issued(folder: Path, spec: Spec = THREE) -> Pki:
    pki = Pki.open(spec, folder)
    pki.issue([each.role for each in wanted_certs(spec)], NOW)
    return pki


def dues(spec: Spec, pki: Pki, now: datetime = NOW) -> dict[str, str]:
    seen = pki.see()
    whys = {
        each.role: due(each, seen.certs.get(each.role), seen.authority, now) for each in wanted_certs(spec)
    }
    return {role: why for role, why in whys.items() if why}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is made


def test_nothing_is_there_then_everything_and_then_nothing_is_due(tmp_path: Path) -> None:
    pki = Pki.open(THREE, tmp_path)
    assert pki.see().authority is None
    assert set(dues(THREE, pki)) == set(ROLES)
    pki.issue(ROLES, NOW)
    seen = pki.see()
    assert (dues(THREE, pki), list(seen.certs), list(seen.files)) == ({}, ROLES, ROLES)
    assert seen.trust["ca"] == seen.trust["peer-ca"] == seen.authority.sha256  # type: ignore[union-attr]
    assert pki.check(NOW) == ()


def test_only_the_roles_asked_for_are_issued_anew(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    before = pki.see()
    pki.issue(["peer/infra2"], NOW)
    after = pki.see()
    assert {role for role in ROLES if before.files[role] != after.files[role]} == {"peer/infra2"}
    assert before.authority == after.authority


def test_all_of_a_cluster_takes_less_than_50_ms(tmp_path: Path) -> None:
    issued(tmp_path / "first")  # imports the library
    took = []
    for attempt in range(5):
        started = time.perf_counter()
        issued(tmp_path / str(attempt))
        took.append(time.perf_counter() - started)
    assert min(took) < 0.05, took


def test_folders_and_keys_are_their_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir(mode=0o755)
    issued(tmp_path).issue_client("kube-apiserver", NOW)
    for path in (tmp_path / "pki", *(tmp_path / "pki").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o700 if path.is_dir() else 0o600 if path.stem.endswith("-key") else 0o644
        assert mode == wanted, path


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    (tmp_path / "pki/ca-key.pem").chmod(0o644)
    (fault,) = pki.check(NOW)
    assert fault.is_warning
    assert str(fault) == f"{tmp_path}/pki/ca-key.pem is open to others (mode 0644)"


@pytest.mark.parametrize("kind", ["server", "peer"])
def test_openssl_takes_what_members_serve_and_dial_with(tmp_path: Path, kind: str) -> None:
    issued(tmp_path)
    ca, cert = tmp_path / "pki/ca.pem", tmp_path / f"pki/members/infra2/{kind}.pem"
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, "-verify_ip", "10.0.0.2", cert)
    openssl("verify", "-CAfile", ca, "-verify_hostname", "localhost", cert)
    shown = openssl("x509", "-in", cert, "-noout", "-text")
    assert "Digital Signature" in shown
    assert "Subject Key Identifier" in shown
    assert "Authority Key Identifier" in shown
    assert f"O = prod, CN = {'infra2' if kind == 'server' else 'etcdup:prod:peer'}" in shown


def test_openssl_takes_clients_as_clients_only(tmp_path: Path) -> None:
    issued(tmp_path)
    ca = tmp_path / "pki/ca.pem"
    for cert in (tmp_path / "pki/clients/admin.pem", tmp_path / "pki/members/infra1/health.pem"):
        openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", ca, cert)
        with pytest.raises(AssertionError, match=r"unsupported certificate purpose|unsuitable certificate"):
            openssl("verify", "-purpose", "sslserver", "-CAfile", ca, cert)


def test_certificates_are_good_on_hosts_whose_clock_is_behind(tmp_path: Path) -> None:
    """Rule 94."""
    seen = issued(tmp_path).see()
    assert seen.authority is not None
    assert {cert.not_before for cert in (seen.authority, *seen.certs.values())} == {NOW - timedelta(hours=1)}


def test_no_certificate_outlives_its_ca(tmp_path: Path) -> None:
    spec = spec_of("10.0.0.1", days=300, ca_days=100)
    seen = issued(tmp_path, spec).see()
    assert seen.authority is not None
    assert {cert.not_after for cert in seen.certs.values()} == {seen.authority.not_after}


def test_what_goes_to_hosts(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    folder = tmp_path / "pki"
    assert pki.trust("ca") == pki.trust("peer-ca") == (folder / "ca.pem").read_bytes()
    server = folder / "members/infra1"
    assert pki.file("server/infra1") == tuple(
        (server / name).read_bytes() for name in ("server.pem", "server-key.pem")
    )
    assert pki.credentials() == (pki.trust("ca"), *pki.file("admin"))


# --- changes


def test_a_new_address_is_due_and_issued_with_the_same_ca(tmp_path: Path) -> None:
    authority = issued(tmp_path).see().authority
    moved = spec_of("10.0.0.1", "10.0.0.2", "10.0.0.9")
    pki = Pki.open(moved, tmp_path)
    lack = "its names lack 10.0.0.9"
    assert dues(moved, pki) == {"server/infra3": lack, "peer/infra3": lack}
    pki.issue(dues(moved, pki), NOW)
    assert dues(moved, pki) == {}
    assert pki.see().authority == authority


def test_renewal_is_due_in_the_last_third(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    assert dues(THREE, pki, NOW + timedelta(days=240)) == {}
    late = NOW + timedelta(days=250)
    assert set(dues(THREE, pki, late)) == set(ROLES)
    pki.issue(ROLES, late)
    assert dues(THREE, pki, late) == {}


def test_a_pair_that_does_not_fit_is_due_and_goes_to_no_host(tmp_path: Path) -> None:
    """Rule 16: it would break every new handshake and nothing would show it."""
    pki = issued(tmp_path)
    folder = tmp_path / "pki/members/infra1"
    (folder / "server-key.pem").write_bytes((folder / "peer-key.pem").read_bytes())
    assert dues(THREE, pki) == {"server/infra1": "its key is missing or does not fit it"}
    assert "server/infra1" not in pki.see().files
    with pytest.raises(PkiError, match=r"server-key.pem is not the key of .*server.pem"):
        pki.file("server/infra1")
    (folder / "server-key.pem").unlink()
    assert dues(THREE, pki) == {"server/infra1": "its key is missing or does not fit it"}


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    broken = tmp_path / "pki/members/infra3/peer.pem"
    broken.write_text("no certificate")
    with pytest.raises(PkiError, match=r"members/infra3/peer.pem holds no certificate in PEM form") as caught:
        pki.see()
    assert caught.value.hint == "move it away, and `etcdup apply` issues it anew"
    assert [fault.file for fault in pki.check(NOW)] == [str(broken)]
    broken.unlink()
    assert dues(THREE, pki) == {"peer/infra3": "there is none yet"}


def test_a_folder_of_certificates_where_the_ca_should_be(tmp_path: Path) -> None:
    (tmp_path / "pki/ca.pem").mkdir(parents=True)
    with pytest.raises(PkiError, match="is a directory, not a file"):
        Pki.open(THREE, tmp_path).see()


# --- clients


def test_a_client_gets_its_certificate_once_and_again_when_asked(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    first = pki.issue_client("kube-apiserver", NOW)
    assert pki.issue_client("kube-apiserver", NOW) == first
    assert pki.issue_client("kube-apiserver", NOW, renew=True) != first
    assert pki.see().certs["client/kube-apiserver"].usages == ("clientAuth",)
    assert pki.issue_client("kube-apiserver", NOW + timedelta(days=300)) != first


@pytest.mark.parametrize(
    "name", ["admin", "etcdup:prod:peer", "../admin", "a/b", "x-key", "", "Root", "a\n", "a,b"]
)
def test_no_client_can_be_called_a_peer_or_write_elsewhere(tmp_path: Path, name: str) -> None:
    pki = issued(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(PkiError, match="There is no certificate"):
        pki.issue_client(name, NOW)
    assert contents(tmp_path) == before


def test_a_role_that_is_not_the_specs_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="no certificate `server/infra4`"):
        Pki.open(THREE, tmp_path).issue(["server/infra1", "server/infra4"], NOW)
    assert not (tmp_path / "pki").exists()


# --- one CA, ever


def test_no_second_ca_beside_a_certificate_without_its_key(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    (tmp_path / "pki/ca-key.pem").unlink()
    again = Pki.open(THREE, tmp_path)
    assert dues(THREE, again) == {}  # what there is can still be used
    before = contents(tmp_path)
    with pytest.raises(PkiError, match=r"ca.pem is there without its key: no second CA is made") as caught:
        again.issue(ROLES, NOW)
    assert "backup" in caught.value.hint
    assert contents(tmp_path) == before
    assert pki.see().authority == again.see().authority


def test_no_second_ca_beside_what_a_first_one_signed(tmp_path: Path) -> None:
    issued(tmp_path)
    (tmp_path / "pki/ca-key.pem").unlink()
    (tmp_path / "pki/ca.pem").unlink()
    with pytest.raises(PkiError, match="is there without the CA that signed it: no second CA is made"):
        Pki.open(THREE, tmp_path).issue(ROLES, NOW)


def test_a_lost_ca_certificate_is_made_again_for_the_same_key(tmp_path: Path) -> None:
    before = issued(tmp_path).see()
    old = (tmp_path / "pki/ca.pem").rename(tmp_path / "old-ca.pem")
    pki = Pki.open(THREE, tmp_path)
    pki.issue(["admin"], NOW)
    after = pki.see()
    assert before.authority is not None
    assert after.authority is not None
    assert before.authority.key == after.authority.key
    assert dues(THREE, pki) == {}
    # Members that trust the old one take what the new one signs.
    openssl("verify", "-x509_strict", "-CAfile", old, tmp_path / "pki/clients/admin.pem")


def test_two_cas_mixed_up_are_refused(tmp_path: Path) -> None:
    issued(tmp_path / "a")
    issued(tmp_path / "b")
    key = tmp_path / "a/pki/ca-key.pem"
    key.write_bytes((tmp_path / "b/pki/ca-key.pem").read_bytes())
    with pytest.raises(PkiError, match=r"ca-key.pem is not the key of .*ca.pem"):
        Pki.open(THREE, tmp_path / "a").issue(["admin"], NOW)


def test_another_ca_makes_all_due(tmp_path: Path) -> None:
    issued(tmp_path / "a")
    issued(tmp_path / "b")
    for name in ("ca.pem", "ca-key.pem"):
        (tmp_path / "a/pki" / name).write_bytes((tmp_path / "b/pki" / name).read_bytes())
    whys = dues(THREE, Pki.open(THREE, tmp_path / "a"))
    assert whys == dict.fromkeys(ROLES, "it was signed by another CA")


def test_an_expired_ca_signs_nothing(tmp_path: Path) -> None:
    pki = issued(tmp_path)
    late = NOW + timedelta(days=3651)
    with pytest.raises(PkiError, match="has expired") as caught:
        pki.issue(["admin"], late)
    assert "rotate-ca" in caught.value.hint
    assert [fault.is_warning for fault in pki.check(late)] == [False]
    assert [fault.is_warning for fault in pki.check(NOW + timedelta(days=3630))] == [True]


def test_two_at_once_make_one_ca(tmp_path: Path) -> None:
    """Both begin while a third holds the folder; each then finds the CA of whoever came first."""
    (tmp_path / "pki").mkdir()
    holder = os.open(tmp_path / "pki", os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    script = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from etcdup.core.spec import Spec; from etcdup.ops.pki import Pki\n"
        "spec = Spec.model_validate_json(sys.argv[2]); print('begins', flush=True)\n"
        "Pki.open(spec, Path(sys.argv[1])).issue([sys.argv[3]], datetime.now(UTC))\n"
    )
    spec = '{"name": "prod", "version": "3.6.14", "hosts": [{"name": "infra1", "address": "10.0.0.1"}]}'
    argv = [sys.executable, "-c", script, str(tmp_path), spec]
    running = [subprocess.Popen([*argv, role], stdout=subprocess.PIPE) for role in ("admin", "peer/infra1")]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == b"begins\n"
        os.close(holder)
        assert [each.wait(timeout=60) for each in running] == [0, 0]
    finally:
        for each in running:
            each.kill()
            each.communicate()
    one = spec_of("10.0.0.1")
    assert set(dues(one, Pki.open(one, tmp_path))) == {"server/infra1", "health/infra1"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("a file")
    with pytest.raises(PkiError, match=r"pki cannot be made: File exists"):
        Pki.open(THREE, tmp_path).issue(ROLES, NOW)


# --- an encrypted CA key


def encrypted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    issued(folder)
    monkeypatch.delenv(VARIABLE)
    assert (folder / "pki/ca-key.pem").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_an_encrypted_ca_key_needs_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted(tmp_path, monkeypatch)
    assert dues(THREE, Pki.open(THREE, tmp_path)) == {}  # seeing needs none
    with pytest.raises(PkiError, match="encrypted and there is no passphrase for it") as missing:
        Pki.open(THREE, tmp_path).issue(["admin"], NOW)
    assert VARIABLE in missing.value.hint
    with pytest.raises(PkiError, match="cannot be decrypted with this passphrase") as wrong:
        Pki.open(THREE, tmp_path, lambda: "wrong passphrase").issue(["admin"], NOW)
    assert "wrong passphrase" not in str(wrong.value) + wrong.value.hint
    with pytest.raises(PkiError, match="cannot be decrypted with this passphrase"):
        Pki.open(THREE, tmp_path, lambda: "").issue(["admin"], NOW)
    before = Pki.open(THREE, tmp_path).see()
    Pki.open(THREE, tmp_path, lambda: PASSPHRASE).issue(["admin"], NOW)
    assert Pki.open(THREE, tmp_path).see().files["admin"] != before.files["admin"]


def test_the_operator_is_asked_once_and_only_for_an_encrypted_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append("asked")
        return PASSPHRASE

    plain = Pki.open(THREE, tmp_path / "plain", ask)
    plain.issue(ROLES, NOW)
    assert asked == []
    encrypted(tmp_path / "encrypted", monkeypatch)
    pki = Pki.open(THREE, tmp_path / "encrypted", ask)
    pki.issue(["admin"], NOW)
    pki.issue(["admin"], NOW)
    assert asked == ["asked"]


def test_openssl_opens_the_encrypted_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted(tmp_path, monkeypatch)
    openssl("pkey", "-in", tmp_path / "pki/ca-key.pem", "-passin", f"pass:{PASSPHRASE}", "-noout")


def test_a_command_gives_the_passphrase(tmp_path: Path) -> None:
    """It runs in cluster.yaml's folder, its first line counts, and no shell reads it."""
    script = tmp_path / "print passphrase"
    script.write_text('#!/bin/sh\necho "$1"\necho second line\necho ran >> ran\n')
    script.chmod(0o755)
    spec = spec_of("10.0.0.1", passphrase_command="'./print passphrase' '$(touch injected); `id`'")
    issued(tmp_path, spec)
    Pki.open(spec, tmp_path).issue(["admin"], NOW)
    assert (tmp_path / "ran").read_text() == "ran\n" * 2  # once for each Pki
    assert not (tmp_path / "injected").exists()
    Pki.open(spec_of("10.0.0.1"), tmp_path, lambda: "$(touch injected); `id`").issue(["admin"], NOW)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "tls.passphrase_command exited with status 1"),
        ("/no/such/program", "tls.passphrase_command could not be run: No such file or directory"),
        ("unclosed '", "tls.passphrase_command could not be run: ValueError"),
        ("", "tls.passphrase_command could not be run"),
        ("true", "The CA's passphrase is empty: what tls.passphrase_command printed"),
    ],
)
def test_a_command_that_gives_none(tmp_path: Path, command: str, why: str) -> None:
    with pytest.raises(PkiError) as caught:
        issued(tmp_path, spec_of("10.0.0.1", passphrase_command=command))
    assert str(caught.value).startswith(why)
    assert not (tmp_path / "pki/ca-key.pem").exists()


def test_an_empty_variable_is_no_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(PkiError, match=r"passphrase is empty: \$ETCDUP_CA_PASSPHRASE"):
        issued(tmp_path)
