"""The operator's machine is lost: cluster.yaml, the key of age and the store are left. The hosts may be lost too."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyrage import x25519

from tests.cli.conftest import Etcdup, prepare_demo
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

VERSION = "3.6.14"
DEMO_FOLDER = ".local/share/etcdup/demo"

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcdup]:
    """A demo of three members whose backups are encrypted."""
    etcdup = Etcdup(tmp_path_factory.mktemp("lost"))
    place = etcdup.folder / DEMO_FOLDER
    prepare_demo(etcdup, place, members=3, version=VERSION)
    key = x25519.Identity.generate()
    (etcdup.folder / "key.txt").write_text(f"{key}\n")
    file = place / "cluster.yaml"
    file.write_text(f"{file.read_text()}backup: {{encrypt_to: {key.to_public()}}}\n")
    etcdup.extra |= {"ETCDUP_FILE": str(file), "ETCDUP_BACKUP_IDENTITY": str(etcdup.folder / "key.txt")}
    done = etcdup("apply", "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "done"), done.stderr
    yield etcdup
    etcdup("demo", "--down")


def lose_machine(up: Etcdup) -> None:
    place = up.folder / DEMO_FOLDER
    shutil.rmtree(place / "pki")
    shutil.rmtree(place / ".etcdup")


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.in_turn(0, 2)
def test_a_new_machine_continues_from_the_store(texts: Texts, up: Etcdup) -> None:
    pki = up.folder / DEMO_FOLDER / "pki"
    up("ctl", "--", "put", "/a", "kept")
    taken = up("backup", "now", "--with-pki")
    assert taken.returncode == 0, taken.stderr
    fingerprint = taken.stderr.partition("fingerprint of its backup key is ")[2].split()[0]
    assert "with PKI" in up("backup", "list").stdout
    refused = up("backup", "pki")
    texts(refused)
    before = files_below(pki)
    lose_machine(up)
    assert up("health").returncode == 1

    fetched = up("backup", "pki")
    assert (fetched.returncode, fingerprint in fetched.stdout) == (0, True), fetched.stderr
    assert files_below(pki) == before
    assert up("plan", "--exit-code").returncode == 0
    assert up("health").returncode == 0
    drill = up("backup", "drill")
    assert drill.returncode == 0, drill.stderr

    up("ctl", "--", "put", "/a", "lost")
    assert up("destroy", "--yes-destroy", "demo").returncode == 0, "the hosts lose the data too"
    lose_machine(up)
    assert up("backup", "pki").returncode == 0
    restored = up("restore", "latest", "--yes-restore", "demo")
    assert restored.returncode == 0, restored.stderr
    assert up("ctl", "--", "get", "/a", "--print-value-only").stdout == "kept\n"


def test_the_pki_is_stored_only_encrypted(texts: Texts, up: Etcdup) -> None:
    file = Path(up.extra["ETCDUP_FILE"])
    before = file.read_text()
    file.write_text(before.partition("backup:")[0])
    try:
        refused = up("backup", "now", "--with-pki")
        texts(refused)
    finally:
        file.write_text(before)
    for path in (up.folder / DEMO_FOLDER / "backups").glob("*.pki.age"):
        assert path.read_bytes().startswith(b"age-encryption.org/v1\n")
        assert path.stat().st_mode & 0o777 == 0o600
