"""Copies of files of members: what is written on the operator's machine, and what is refused."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from etcdup.core.adopt.copies import Copy, copies_of
from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.existing_file import differing_keys
from etcdup.core.adopt.local_names import tls_folder
from etcdup.core.adopt.member import member_of
from etcdup.core.spec.load import load
from etcdup.errors import RefusedError
from etcdup.ops.adopt.copy_files import kept_keys, write_cluster_file, write_copies
from tests.support.adopt_shapes import GUIDE, KUBESPRAY, NOW, Shape, inspected
from tests.support.etcd_certs import Authority
from tests.support.texts import Texts

AUTHORITY = Authority("etcd-ca")
PAIR = AUTHORITY.issue("infra1", ["10.0.0.1"])
CERT = Copy("infra1", 7, "", "/etc/etcd/server.pem", "./pki/infra1.pem", is_key=False)
KEY = Copy("infra1", 7, "", "/etc/etcd/server-key.pem", "./pki/infra1-key.pem", is_key=True)
CONTENTS: Mapping[Copy, bytes] = {CERT: PAIR.cert, KEY: PAIR.key}


def drafted(shape: Shape, *, with_ca_key: bool = False) -> Draft:
    wanted = Wanted("prod", "root", is_dry_run=False, with_ca_key=with_ca_key)
    made = draft([member_of(each) for each in inspected(shape)], wanted, NOW)
    assert isinstance(made, Draft), made
    return made


def copied(shape: Shape, *, with_ca_key: bool) -> dict[str, str]:
    made = drafted(shape, with_ca_key=with_ca_key)
    members = [member_of(each) for each in inspected(shape)]
    return {each.target: f"{each.host}:{each.path}" for each in copies_of(made.spec, members)}


def test_without_the_key_of_the_ca_the_files_of_each_member_are_copied() -> None:
    ssl = "/etc/kubernetes/ssl"
    assert copied(GUIDE, with_ca_key=False) == {
        "./pki/ca.pem": f"infra1:{ssl}/ca.pem",
        **{f"./pki/{name}.pem": f"{name}:{ssl}/kubernetes.pem" for name in GUIDE.names},
        **{f"./pki/{name}-key.pem": f"{name}:{ssl}/kubernetes-key.pem" for name in GUIDE.names},
    }


def test_with_the_key_of_the_ca_no_key_of_a_member_is_copied() -> None:
    found = copied(KUBESPRAY, with_ca_key=True)
    assert found == {
        "pki/ca.pem": "etcd1:/etc/ssl/etcd/ssl/ca.pem",
        "pki/ca-key.pem": "etcd1:/etc/ssl/etcd/ssl/ca-key.pem",
    }
    assert not any("ca-key" in target for target in copied(KUBESPRAY, with_ca_key=False))


def test_the_key_of_a_shared_ca_is_never_copied() -> None:
    assert not any("ca-key" in target for target in copied(GUIDE, with_ca_key=True))


@pytest.mark.parametrize("there", [(), (CERT,), (KEY,), (CERT, KEY)], ids=str)
def test_a_killed_run_is_finished_by_the_next_one(tmp_path: Path, there: tuple[Copy, ...]) -> None:
    write_copies(tmp_path, {each: CONTENTS[each] for each in there})
    write_copies(tmp_path, CONTENTS)
    for copy, content in CONTENTS.items():
        path = tmp_path / copy.target
        assert path.read_bytes() == content
        assert path.stat().st_mode & 0o777 == (0o600 if copy.is_key else 0o644)
    assert (tmp_path / "pki").stat().st_mode & 0o777 == 0o700
    assert kept_keys(tmp_path, tuple(CONTENTS)) == {KEY: PAIR.key}


def test_another_file_is_not_replaced_and_nothing_is_written(texts: Texts, tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / KEY.target).write_bytes(b"another key")
    with pytest.raises(RefusedError) as refused:
        write_copies(tmp_path, CONTENTS)
    texts(refused.value)
    assert [path.name for path in (tmp_path / "pki").iterdir()] == ["infra1-key.pem"]


def test_a_cluster_file_that_exists_stays(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    write_cluster_file(path, "name: prod\n")
    write_cluster_file(path, "name: other\n")
    assert path.read_text() == "name: prod\n"


@pytest.mark.parametrize(
    ("edit", "keys"),
    [
        (("", ""), ()),
        (("  user: root", "  user: admin\n  sudo: true"), ()),
        (("# Written", "# A comment of the operator. Written"), ()),
        (("quota: 2GiB", "quota: 4GiB"), ("etcd",)),
        (("address: 10.0.0.2 ", "address: 10.0.0.9 "), ("hosts",)),
        (("version: 3.5.16", "version: 3.5.33"), ("version",)),
        (("client_auth: optional", "client_auth: required"), ("tls.client_auth",)),
    ],
    ids=["same", "ssh", "comment", "quota", "address", "version", "client-auth"],
)
def test_a_file_that_exists_must_describe_the_same_cluster(
    edit: tuple[str, str], keys: tuple[str, ...]
) -> None:
    made = drafted(GUIDE)
    assert edit[0] in made.text
    assert differing_keys(load(made.text.replace(*edit)), made.spec) == keys


def test_a_release_renames_the_folder_of_the_certificates_that_adopt_made() -> None:
    assert tls_folder(drafted(GUIDE).spec) == "pki"
    assert tls_folder(drafted(KUBESPRAY, with_ca_key=True).spec) == "./pki"
    other = load(drafted(GUIDE).text.replace("./pki/", "/etc/certs/"))
    assert tls_folder(other) == ""
