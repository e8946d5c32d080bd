"""The search for secrets finds each secret. Each demo of these tests ends with this search."""

from pathlib import Path

import pytest
from pyrage import x25519

from tests.cli.secret_search import Secrets
from tests.ops.pki.managed_pki import THREE, issue_all


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    place = tmp_path / ".local/share/etcdup/demo"
    place.mkdir(parents=True)
    issue_all(place, THREE)
    (tmp_path / "identity.txt").write_text(f"{x25519.Identity.generate()}\n")
    known = Secrets(tmp_path)
    known.read_secrets(
        {"AWS_SECRET_ACCESS_KEY": "not to be told"}, ("--identity", str(tmp_path / "identity.txt"))
    )
    return known


def test_each_secret_is_found_in_a_file_and_in_an_output(secrets: Secrets) -> None:
    assert secrets.find_leaks() == []
    assert len(secrets.words) == 1 + 12 + 2, (
        "any key; the CA, the backups, three for each member, the operator's; S3 and age"
    )
    journal = secrets.folder / "journal of a host"
    for text in secrets.words:
        journal.write_bytes(b"\x00binary\x00" + text.encode() + b"\xff\n")
        assert secrets.find_leaks() == [str(journal)]
    journal.unlink()
    secrets.record_output("all is well", "but AWS says: not to be told")
    assert secrets.find_leaks() == ["AWS_SECRET_ACCESS_KEY was said"]
