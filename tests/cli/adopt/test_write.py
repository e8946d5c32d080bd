"""The consent for the key of the CA: without it, no run of `adopt` copies the key, also if cluster.yaml needs it."""

import asyncio
from pathlib import Path

import pytest

from etcdup.cli.adopt.write import Options, _may_copy_ca_key
from etcdup.cli.run.terminal import Terminal
from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import member_of
from etcdup.core.spec.model import Spec
from etcdup.errors import UsageError
from tests.support.adopt_shapes import GUIDE, KUBESPRAY, NOW, Shape, inspected
from tests.support.texts import Texts


def may_copy(shape: Shape, file: Path, *, with_ca_key: bool = False, existing: Spec | None = None) -> bool:
    options = Options(file, ("10.0.0.1",), "prod", "root", yes=True, with_ca_key=with_ca_key, as_json=False)
    members = [member_of(each) for each in inspected(shape)]
    return asyncio.run(_may_copy_ca_key(Terminal(), options, members, existing))


def drafted(shape: Shape, *, with_ca_key: bool) -> Spec:
    members = [member_of(each) for each in inspected(shape)]
    made = draft(members, Wanted("prod", "root", is_dry_run=False, with_ca_key=with_ca_key), NOW)
    assert isinstance(made, Draft)
    return made.spec


def test_the_key_is_copied_only_with_the_option(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    assert may_copy(KUBESPRAY, file, with_ca_key=True)
    assert not may_copy(KUBESPRAY, file)
    assert not may_copy(GUIDE, file)


def test_a_draft_with_a_managed_ca_is_no_consent(texts: Texts, tmp_path: Path) -> None:
    file, managed = tmp_path / "cluster.yaml", drafted(KUBESPRAY, with_ca_key=True)
    with pytest.raises(UsageError) as wrong:
        may_copy(KUBESPRAY, file, existing=managed)
    texts(wrong.value)
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca-key.pem").write_bytes(b"a key")
    assert may_copy(KUBESPRAY, file, existing=managed)


def test_a_file_with_provided_certificates_needs_no_key(tmp_path: Path) -> None:
    provided = drafted(KUBESPRAY, with_ca_key=False)
    assert not may_copy(KUBESPRAY, tmp_path / "cluster.yaml", existing=provided)


def test_the_key_of_a_shared_ca_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        may_copy(GUIDE, tmp_path / "cluster.yaml", with_ca_key=True)
