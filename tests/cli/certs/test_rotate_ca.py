"""`etcdup certs rotate-ca` with an encrypted CA key: certificates are renewed, then the CA is rotated.

On each minor and under load: tests/lab/test_rotate_ca.py.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Etcdup, assert_nothing_to_do, lines_with, start_demo
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

VERSION = "3.7.1"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Etcdup]:
    called = Etcdup(tmp_path)
    try:
        start_demo(called, version=VERSION)
        called.extra["ETCDUP_CA_PASSPHRASE"] = "correct horse"
        yield called
    finally:
        called("demo", "--down")


def run_certs(etcdup: Etcdup, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = etcdup("certs", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def serials(etcdup: Etcdup, kind: str) -> set[str]:
    told = json.loads(run_certs(etcdup, "list", "--json").stdout)
    return {row["serial"] for row in told["certificates"] if row["roles"][0].startswith(kind)}


@pytest.mark.in_turn(1, 2)
def test_the_certificates_and_then_the_ca_are_replaced(texts: Texts, up: Etcdup) -> None:
    pki = up.folder / ".local/share/etcdup/demo/pki"
    leaves, ca = serials(up, "server/"), serials(up, "ca")
    run_certs(up, "renew", "--days", "100000", "--yes")
    assert not leaves & serials(up, "server/")
    run_certs(up, "issue", "app")
    run_certs(up, "issue", "gone")

    texts(lines_with("new handshakes", run_certs(up, "rotate-ca", "--yes").stderr))
    assert b"ENCRYPTED" in (pki / "next-ca-key.pem").read_bytes()
    assert len(serials(up, "ca")) == 2
    texts(run_certs(up, "rotate-ca", "--yes", code=4))
    texts(run_certs(up, "rotate-ca", "--yes", "--consumers-have", "certs", code=2))

    leaves = serials(up, "server/")
    told = json.loads(run_certs(up, "rotate-ca", "--yes", "--consumers-have", "ca", "--json").stdout)
    assert (told["phase"], told["next"]["consumers"]) == ("sign", ["app", "gone"])
    assert all(member["healthy"] for member in told["members"])
    assert Path(told["next"]["ca"]).read_text().count("BEGIN CERTIFICATE") == 2
    assert not leaves & serials(up, "server/")
    texts(run_certs(up, "rotate-ca", "--yes", "--consumers-have", "certs", code=4))
    run_certs(up, "issue", "app")
    texts(run_certs(up, "forget", "gone"))
    assert serials(up, "forgotten/gone"), "because the old CA is still trusted"

    run_certs(up, "rotate-ca", "--yes", "--consumers-have", "certs")
    assert not ca & serials(up, "ca")
    assert not serials(up, "forgotten/gone")
    assert len(serials(up, "ca")) == 1
    assert_nothing_to_do(up)
    texts(run_certs(up, "rotate-ca", "--yes", "--keep-old", code=4))
    texts(run_certs(up, "rotate-ca", "--keep-old", "--consumers-have", "ca", code=2))
    assert "PRIVATE" not in "".join(path.read_text() for path in pki.parent.glob(".etcdup/*"))
