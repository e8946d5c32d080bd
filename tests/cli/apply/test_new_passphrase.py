"""The first apply on a terminal asks for the passphrase of the CA key that it makes."""

from pathlib import Path

import pytest

from tests.cli.conftest import Etcdup, prepare_demo
from tests.support.etcd_binaries import why_not
from tests.support.keyboard import run_interactively

VERSION = "3.6.14"
PASSPHRASE = "correct horse battery"

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))


def test_the_ca_key_is_encrypted_with_what_was_typed_twice(tmp_path: Path) -> None:
    up = Etcdup(tmp_path)
    place = tmp_path / ".local/share/etcdup/demo"
    prepare_demo(up, place, members=1, version=VERSION)
    up.extra["ETCDUP_FILE"] = str(place / "cluster.yaml")
    first, again = "no encryption): ", "again: "
    typed = [
        ("[y/N]", "y"),
        (first, PASSPHRASE),
        (again, "another"),
        (first, PASSPHRASE),
        (again, PASSPHRASE),
    ]
    try:
        code, screen = run_interactively(up.on_terminal("apply"), typed)
        assert code == 0, screen
        assert PASSPHRASE not in screen
        key = (place / "pki/ca-key.pem").read_bytes()
        assert key.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        refused = up("certs", "issue", "app")
        assert (refused.returncode, "ETCDUP_CA_PASSPHRASE" in refused.stderr) == (1, True), refused.stderr
        up.extra["ETCDUP_CA_PASSPHRASE"] = PASSPHRASE
        assert up("certs", "issue", "app").returncode == 0
    finally:
        up("demo", "--down")
