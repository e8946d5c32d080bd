"""After a kill at any change to the disk, the next run reaches the same state, with the same CA."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.core.certs.ca_rotation import rotation_stage
from etcdup.core.certs.required import desired_certs, why_due
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import Pki
from tests.support.openssl import openssl

NOW = datetime.now(UTC).replace(microsecond=0)
WRITTEN = {"name": "prod", "version": "3.6.14", "hosts": [{"name": "infra1", "address": "10.0.0.1"}]}
SPEC = Spec.model_validate(WRITTEN)


def run_killed_at_each_change(folder: Path, *stage: str) -> list[Path]:
    """Return the folders of the killed runs. The last one is that of the run that completed."""
    argv = [
        sys.executable,
        "-m",
        "tests.ops.pki.kill_at_disk_change",
        str(folder),
        json.dumps(WRITTEN),
        NOW.isoformat(),
        *stage,
    ]
    done = subprocess.run(argv, check=True, timeout=120, capture_output=True)
    return [folder / str(number) for number in range(1, int(done.stdout) + 1)]


def due_roles(pki: Pki) -> list[str]:
    seen = pki.observe()
    return [
        each.role for each in desired_certs(SPEC) if why_due(each, seen.certs.get(each.role), seen.ca, NOW)
    ]


def finish_run(folder: Path) -> PkiSeen:
    """Issue what is due, as the next run does, and return the observed PKI."""
    pki = open_pki(SPEC, folder)
    pki.issue(due_roles(pki) or ["admin"], NOW)
    assert due_roles(pki) == []
    for role in pki.observe().certs:
        cert, _ = pki.pair(role)
        assert cert.startswith(b"-----BEGIN CERTIFICATE-----")
    return pki.observe()


def rotate(folder: Path, stage: str) -> None:
    """Do a stage. Without the key of the CA, the first one is `certs rotate-ca --lost-key`."""
    pki = open_pki(SPEC, folder)
    if stage == "trust" and not (folder / "pki/ca-key.pem").exists():
        pki.accept_lost_key()
    pki.rotate_ca(stage, NOW)


def test_kill_while_all_certificates_are_issued(tmp_path: Path) -> None:
    folders = run_killed_at_each_change(tmp_path)
    assert len(folders) > 30
    for folder in folders:
        key = folder / "pki/ca-key.pem"
        before = key.read_bytes() if key.exists() else None
        finish_run(folder)
        assert before is None or key.read_bytes() == before
        assert list(folder.rglob("*.tmp")) == []
        assert openssl("verify", "-CAfile", folder / "pki/ca.pem", folder / "pki/clients/admin.pem")


def test_kill_while_all_certificates_are_renewed(tmp_path: Path) -> None:
    """Each certificate that was valid before still exists or is due. No file that a running member needs is lost."""
    whole = tmp_path / "whole"
    open_pki(SPEC, whole).issue([each.role for each in desired_certs(SPEC)], NOW)
    before = open_pki(SPEC, whole).observe()
    for number in range(1, 80):
        shutil.copytree(whole, tmp_path / str(number))
    folders = run_killed_at_each_change(tmp_path)
    for folder in folders:
        seen = open_pki(SPEC, folder).observe()
        assert set(seen.certs) == set(before.certs)
        assert len(due_roles(open_pki(SPEC, folder))) <= 1  # Only the pair that the killed run was writing.
        assert finish_run(folder).ca is not None
        assert (folder / "pki/ca-key.pem").read_bytes() == (whole / "pki/ca-key.pem").read_bytes()
        assert list(folder.rglob("*.tmp")) == []


def test_kill_while_a_certificate_of_a_consumer_is_renewed(tmp_path: Path) -> None:
    """The previous certificate is always in the PKI, because etcd still accepts it, and it is archived once."""
    whole = tmp_path / "whole"
    first = open_pki(SPEC, whole)
    first.issue(["admin"], NOW)
    old, old_key = first.issue_consumer("app", NOW)
    for number in range(1, 40):
        shutil.copytree(whole, tmp_path / str(number))
    folders = run_killed_at_each_change(tmp_path, "consumer")
    assert len(folders) > 10
    for folder in folders:
        pki = open_pki(SPEC, folder)
        cut = [
            (folder / "pki/clients/app.pem").read_bytes(),
            *(each.read_bytes() for each in pki.archived_consumers()),
        ]
        assert old in cut
        if cut[0] != old:
            assert pki.pair("client/app")[0] == cut[0], "the key of the new certificate is in the PKI"
        pki.issue_consumer("app", NOW, renew=True)
        kept = [each for each in pki.archived_consumers() if each.read_bytes() == old]
        assert len(kept) == 1
        assert kept[0].with_name(f"{kept[0].stem}-key.pem").read_bytes() == old_key
        assert pki.pair("client/app")[0] not in (old, cut[0])
        assert list(folder.rglob("*.tmp")) == []


@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize("key", ["known", "lost"])
def test_kill_in_a_stage_of_a_ca_rotation(tmp_path: Path, done: int, key: str) -> None:
    """The stage is done or not done, the signing CA is always trusted, and the next run reaches the same state."""
    stages = ("trust", "sign", "drop")
    whole = tmp_path / "whole"
    first = open_pki(SPEC, whole)
    first.issue([each.role for each in desired_certs(SPEC)], NOW)
    if key == "lost":
        (whole / "pki/ca-key.pem").unlink()
    for stage in stages[:done]:
        rotate(whole, stage)
    before = first.observe()
    for number in range(1, 80):
        shutil.copytree(whole, tmp_path / str(number))
    is_begun = key == "lost" and done == 0
    folders = run_killed_at_each_change(tmp_path, "lost-key" if is_begun else stages[done])
    assert len(folders) > 5
    for folder in folders:
        pki = open_pki(SPEC, folder)
        cut = pki.observe()
        assert rotation_stage(cut) in (rotation_stage(before), ("trust", "sign", None)[done])
        assert cut.ca in cut.trusted
        made = {path.read_bytes() for path in folder.glob("pki/next-ca.pem")}
        rotate(folder, stages[done])
        rotate(folder, stages[done])  # The second call has nothing to do.
        after = pki.observe()
        assert rotation_stage(after) == ("trust", "sign", None)[done]
        assert len(after.trusted) == (1 if done == 2 else 2)
        if made:
            assert (folder / "pki/ca.pem").read_bytes().endswith(made.pop()), "no third CA"
        if is_begun:  # No CA signs before the next stage.
            rotate(folder, "sign")
            after = pki.observe()
        pki.issue(["admin"], NOW)
        assert pki.observe().certs["admin"].issuer_key == after.ca.key  # type: ignore[union-attr]
        assert list(folder.rglob("*.tmp")) == []
