"""Certificates of the operator, made by openssl: the supported formats, and each fault that is reported."""

import base64
import json
import shutil
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import Pki
from tests.support.openssl import DATE, Ca, make_ca, make_cert, make_key, openssl
from tests.support.texts import Texts

NOW = datetime.now(UTC).replace(microsecond=0)
ADDRESSES = ("192.168.8.66", "192.168.8.67", "192.168.8.68")
FILES = {"ca": "ca.pem", "cert": "kubernetes.pem", "key": "kubernetes-key.pem"}


def open_provided(folder: Path, **tls: Any) -> Pki:
    hosts = [{"name": f"infra{n}", "address": address} for n, address in enumerate(ADDRESSES, 1)]
    tls = {"mode": "provided", **FILES, **tls}
    spec = Spec.model_validate({"name": "prod", "version": "3.6.14", "hosts": hosts, "tls": tls})
    return open_pki(spec, folder)


def fault_texts(folder: Path, **tls: Any) -> list[str]:
    """Return the faults of `check`, without the path of the folder."""
    return [str(fault).replace(f"{folder}/", "") for fault in open_provided(folder, **tls).check(NOW)]


@pytest.fixture(scope="module")
def guide_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three files of the guide, and the CA that signed the certificate."""
    folder = tmp_path_factory.mktemp("guide")
    ca = make_ca(folder / "ca")
    shutil.copy(ca.cert, folder / "ca.pem")
    make_key(folder / "kubernetes-key.pem", "rsa-pkcs1")  # This is the format of cfssl.
    make_cert(ca, folder / "kubernetes.pem", folder / "kubernetes-key.pem", addresses=ADDRESSES)
    return folder


@pytest.fixture
def folder(guide_files: Path, tmp_path: Path) -> Path:
    return shutil.copytree(guide_files, tmp_path / "etc")


def reissue(folder: Path, **how: Any) -> None:
    """Issue the certificate of the guide again, with a fault in it."""
    how = {"addresses": ADDRESSES, **how}
    make_cert(Ca(folder / "ca"), folder / "kubernetes.pem", folder / "kubernetes-key.pem", **how)


# --- supported files


def test_the_three_files_of_the_guide_serve_every_role(folder: Path) -> None:
    pki = open_provided(folder)
    assert pki.check(NOW) == ()
    seen = pki.observe()
    assert seen.ca is not None
    assert (seen.mode, seen.ca.common_name) == ("provided", "kubernetes-ca")
    assert list(seen.certs) == [f"{k}/infra{n}" for n in (1, 2, 3) for k in ("server", "peer", "health")] + [
        "admin"
    ]
    assert len(set(seen.files.values())) == len(set(seen.trust.values())) == 1
    assert seen.certs["server/infra1"].addresses == ADDRESSES
    as_given = (folder / "kubernetes.pem").read_bytes(), (folder / "kubernetes-key.pem").read_bytes()
    assert pki.pair("peer/infra3") == as_given
    assert pki.credentials() == ((folder / "ca.pem").read_bytes(), *as_given)


@pytest.mark.parametrize("kind", ["rsa-pkcs1", "rsa-pkcs8", "ec-pkcs8", "ec-sec1"])
def test_every_format_of_key(folder: Path, kind: str) -> None:
    make_key(folder / "kubernetes-key.pem", kind)
    reissue(folder)
    assert fault_texts(folder) == []
    assert open_provided(folder).observe().certs["admin"].key


def test_a_chain_with_an_intermediate_certificate(folder: Path) -> None:
    between = make_ca(folder / "between", "intermediate", parent=Ca(folder / "ca"))
    leaf = folder / "leaf.pem"
    make_cert(between, leaf, folder / "kubernetes-key.pem", addresses=ADDRESSES)
    (folder / "kubernetes.pem").write_bytes(leaf.read_bytes() + between.cert.read_bytes())
    assert fault_texts(folder) == []
    assert open_provided(folder).pair("server/infra1")[0].count(b"BEGIN CERTIFICATE") == 2
    (folder / "kubernetes.pem").write_bytes(leaf.read_bytes())
    assert fault_texts(folder) == ["kubernetes.pem was not signed by the CA in ca.pem"]
    (folder / "ca.pem").write_bytes(between.cert.read_bytes())
    assert fault_texts(folder) == []


def test_a_bundle_of_two_cas(folder: Path) -> None:
    """This is the CA file during a rotation (rule 15)."""
    other = make_ca(folder / "other", "next-ca")
    (folder / "ca.pem").write_bytes(other.cert.read_bytes() + (folder / "ca.pem").read_bytes())
    assert fault_texts(folder) == []


def test_files_with_additional_text_and_windows_line_ends(folder: Path) -> None:
    text = openssl("x509", "-in", folder / "kubernetes.pem", "-text")
    (folder / "kubernetes.pem").write_bytes(text.replace("\n", "\r\n").encode())
    assert fault_texts(folder) == []


def test_separate_files_for_each_member_for_peers_and_for_clients(folder: Path) -> None:
    peers = make_ca(folder / "peers", "peer-ca")
    for n, address in enumerate(ADDRESSES, 1):
        key = make_key(folder / f"peer-infra{n}-key.pem")
        make_cert(peers, folder / f"peer-infra{n}.pem", key, addresses=(address,))
    make_cert(Ca(folder / "ca"), folder / "me.pem", make_key(folder / "me-key.pem"), usages="clientAuth")
    tls = {
        "peer_ca": "peers/ca.pem",
        "peer_cert": "peer-{name}.pem",
        "peer_key": "peer-{name}-key.pem",
        "client_cert": str(folder / "me.pem"),
        "client_key": "me-key.pem",
    }
    assert fault_texts(folder, **tls) == []
    pki = open_provided(folder, **tls)
    assert pki.pair("peer/infra2")[0] == (folder / "peer-infra2.pem").read_bytes()
    assert pki.pair("health/infra1") == pki.pair("admin") == pki.credentials()[1:]
    assert pki.credentials()[1] == (folder / "me.pem").read_bytes()
    assert pki.ca_file("peer-ca") == peers.cert.read_bytes() != pki.ca_file("ca")
    (folder / "peer-infra3.pem").unlink()
    shutil.copy(folder / "peer-infra1.pem", folder / "peer-infra2.pem")
    assert fault_texts(folder, **tls) == [
        "peer-infra3.pem does not exist",
        "peer-infra2-key.pem is not the key of peer-infra2.pem",
        "peer-infra2.pem does not contain the address 192.168.8.67 of infra2",
    ]


def test_the_json_of_cfssl_is_not_a_certificate_file(folder: Path) -> None:
    """cfssl prints JSON; `cfssljson -bare` converts it to files."""
    pem = (folder / "kubernetes.pem").read_text()
    (folder / "kubernetes.pem").write_text(json.dumps({"cert": pem}))
    assert fault_texts(folder) == ["kubernetes.pem has characters before `-----BEGIN CERTIFICATE` in line 1"]


# --- faults


def test_an_address_that_is_missing(folder: Path) -> None:
    reissue(folder, addresses=ADDRESSES[:2])
    assert fault_texts(folder) == ["kubernetes.pem does not contain the address 192.168.8.68 of infra3"]


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (-30, -1),
        (1, 30),
        (-30, 6),
    ],
)
def test_a_certificate_outside_its_validity(texts: Texts, folder: Path, begins: int, ends: int) -> None:
    dates = [f"{NOW + timedelta(days=days):{DATE}}" for days in (begins, ends)]
    reissue(folder, valid=tuple(dates))
    (fault,) = open_provided(folder).check(NOW)
    texts(fault)


@pytest.mark.parametrize(("usage", "lacking"), [("serverAuth", "clientAuth"), ("clientAuth", "serverAuth")])
def test_a_missing_extended_key_usage(folder: Path, usage: str, lacking: str) -> None:
    reissue(folder, usages=usage)
    assert fault_texts(folder) == [f"kubernetes.pem has no extended key usage {lacking}"]


@pytest.mark.parametrize("usages", ["", "anyExtendedKeyUsage"])
def test_usages_that_allow_all(folder: Path, usages: str) -> None:
    reissue(folder, usages=usages)
    assert fault_texts(folder) == []


def test_a_certificate_without_any_names(folder: Path) -> None:
    reissue(folder, addresses=())
    assert fault_texts(folder) == [
        f"kubernetes.pem does not contain the address {address} of infra{n}"
        for n, address in enumerate(ADDRESSES, 1)
    ]


def test_another_key(texts: Texts, folder: Path) -> None:
    make_key(folder / "kubernetes-key.pem")
    assert fault_texts(folder) == ["kubernetes-key.pem is not the key of kubernetes.pem"]
    assert open_provided(folder).observe().certs["admin"].key == ""
    with pytest.raises(PkiError) as caught:
        open_provided(folder).pair("server/infra1")
    texts(caught.value)


def test_another_ca_of_the_same_name(folder: Path) -> None:
    other = make_ca(folder / "other", "kubernetes-ca")
    shutil.copy(other.cert, folder / "ca.pem")
    assert fault_texts(folder) == ["kubernetes.pem was not signed by the CA in ca.pem"]


def test_a_leaf_certificate_as_the_ca_file(folder: Path) -> None:
    shutil.copy(folder / "kubernetes.pem", folder / "ca.pem")
    assert fault_texts(folder) == [
        "ca.pem contains the certificate of `kubernetes`, which is not a CA certificate"
    ]


def test_an_encrypted_key(texts: Texts, folder: Path) -> None:
    for form in (["-traditional"], []):
        key = openssl("pkey", "-in", folder / "ca/ca-key.pem", "-aes256", "-passout", "pass:secret", *form)
        (folder / "kubernetes-key.pem").write_text(key)
        (fault,) = open_provided(folder).check(NOW)
        assert fault.message == "is encrypted"
        texts(fault)


def test_certificate_and_key_swapped(folder: Path) -> None:
    (fault, other) = open_provided(folder, cert=FILES["key"], key=FILES["cert"]).check(NOW)
    assert fault.message == "contains a private key and no certificate"
    assert other.message == "contains a certificate and no private key"
    assert fault.hint == other.hint == "check whether the paths of certificate and key are swapped"


def test_a_certificate_file_that_contains_the_key_is_refused(folder: Path) -> None:
    both = (folder / "kubernetes.pem").read_bytes() + (folder / "kubernetes-key.pem").read_bytes()
    (folder / "kubernetes.pem").write_bytes(both)
    assert fault_texts(folder) == ["kubernetes.pem contains a private key in addition to the certificate"]


def test_a_key_that_all_users_can_read(folder: Path) -> None:
    (folder / "kubernetes-key.pem").chmod(0o644)
    (fault,) = open_provided(folder).check(NOW)
    assert fault.is_warning
    (folder / "kubernetes-key.pem").chmod(0o640)
    assert fault_texts(folder) == []


def test_all_unusable_files_are_reported_together(texts: Texts, folder: Path) -> None:
    (folder / "ca.pem").unlink()
    (folder / "kubernetes.pem").write_bytes(b"\x00garbage\xff")
    (folder / "kubernetes-key.pem").unlink()
    (folder / "kubernetes-key.pem").mkdir()
    wrong = [
        "ca.pem does not exist",
        "kubernetes.pem contains no certificate in PEM format",
        "kubernetes-key.pem is a directory, not a file",
    ]
    assert fault_texts(folder) == wrong
    with pytest.raises(PkiError) as caught:
        open_provided(folder).observe()
    texts(caught.value)
    assert caught.value.detail.replace(f"{folder}/", "").splitlines() == wrong


@pytest.mark.parametrize("name", sorted(FILES.values()))
def test_damage_in_any_line_is_a_fault_and_not_an_exception(folder: Path, name: str) -> None:
    """Each line of the file is removed, or replaced by another line of base64.

    The signature of a CA on its own certificate is never verified, so damage there is not reported.
    """
    make_key(folder / "kubernetes-key.pem")
    reissue(folder)
    lines = (folder / name).read_text().splitlines()
    for number in range(len(lines)):
        for instead in ([], ["A" * 64]):
            (folder / name).write_text("\n".join([*lines[:number], *instead, *lines[number + 1 :]]) + "\n")
            assert open_provided(folder).check(NOW) or name == FILES["ca"], (number, instead)


def test_a_setting_that_is_missing(folder: Path) -> None:
    assert fault_texts(folder, ca=None) == ["cluster.yaml names no file in `tls.ca`"]


def test_no_certificate_is_issued_with_a_provided_ca(texts: Texts, folder: Path) -> None:
    pki = open_provided(folder)
    with pytest.raises(PkiError) as caught:
        pki.issue(["admin"], NOW)
    texts(caught.value)
    with pytest.raises(PkiError) as caught:
        pki.issue_consumer("kube-apiserver", NOW)
    texts(caught.value)


# --- secrets


@pytest.mark.parametrize("kind", ["rsa-pkcs1", "ec-pkcs8"])
@pytest.mark.parametrize("name", sorted(FILES.values()))
def test_no_key_in_any_message_or_traceback(folder: Path, kind: str, name: str) -> None:
    """The key, complete or damaged in several ways, is in each of the three files."""
    text = make_key(folder / "kubernetes-key.pem", kind).read_text()
    reissue(folder)
    lines = [line for line in text.splitlines() if not line.startswith("-")]
    secrets = [*lines, base64.b64decode("".join(lines)).hex()]
    other_label = text.replace("PRIVATE", "DSA PRIVATE")
    for content in (text, text.replace("M", "N"), text[:-40], other_label, "\n".join(lines)):
        (folder / name).write_text(content)
        shown = all_output(open_provided(folder))
        assert not [secret for secret in secrets if secret in shown], shown


def all_output(pki: Pki) -> str:
    """Return the messages, hints, details, reprs and tracebacks of all calls that can fail."""
    shown = [repr(pki), repr(pki.check(NOW))]
    for call in (pki.observe, pki.credentials, lambda: pki.pair("peer/infra1")):
        try:
            call()
        except PkiError as error:
            shown += [*traceback.format_exception(error), repr(error), repr(vars(error))]
    return "\n".join(shown)


@pytest.mark.parametrize(
    "damage",
    [
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: pem.replace(b"-----BEGIN", b"  -----BEGIN"),
        lambda pem: b"x" + pem,
        lambda pem: pem.decode().encode("utf-16"),
    ],
    ids=["byte-order mark", "indented", "after other characters", "UTF-16"],
)
@pytest.mark.parametrize("name", ["ca.pem", "kubernetes.pem", "kubernetes-key.pem"])
def test_blocks_that_go_does_not_read(
    texts: Texts, folder: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    (text,) = fault_texts(folder)
    texts(text)


def test_a_peer_certificate_may_have_a_key_that_only_etcd_uses(folder: Path) -> None:
    key, ca = make_key(folder / "peer-key.pem", "ed25519"), Ca(folder / "ca")
    make_cert(ca, folder / "peer.pem", key, addresses=ADDRESSES)
    assert fault_texts(folder, peer_cert="peer.pem", peer_key="peer-key.pem", peer_ca="ca.pem") == []
