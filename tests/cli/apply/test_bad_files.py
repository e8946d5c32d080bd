"""`etcdup apply` on real members: a bad file is put back on the first member."""

import pytest

from tests.cli.certs.test_certs import demo_folder, pids
from tests.cli.conftest import VERSION, Etcdup, prepare_demo
from tests.support.etcd_binaries import why_not

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))

BOM = b"\xef\xbb\xbf"
NAMES = ("infra1", "infra2", "infra3")


@pytest.fixture(scope="module")
def up(etcdup: Etcdup) -> Etcdup:
    place = etcdup.folder / ".local/share/etcdup/demo"
    prepare_demo(etcdup, place)
    done = etcdup("demo")
    assert done.returncode == 0, done.stderr
    etcdup.extra["ETCDUP_FILE"] = str(place / "cluster.yaml")
    return etcdup


def served_files(etcdup: Etcdup) -> dict[str, bytes]:
    """Return the certificates, the keys and the settings on the hosts."""
    roots = [demo_folder(etcdup) / name / "etc/etcd" for name in NAMES]
    files = (path for root in roots for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def assert_nothing_to_do(etcdup: Etcdup) -> None:
    done = etcdup("apply")
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert not [path for path in served_files(etcdup) if "unproved" in path]


def with_extra(text: str, flag: str) -> str:
    """Return the demo's cluster.yaml with a flag of etcd."""
    return text.replace("etcd: {", f"etcd: {{extra: {{{flag}}}, ", 1)


@pytest.mark.parametrize("kind", ["server", "peer-key"])
def test_a_certificate_that_etcd_cannot_parse_is_put_back(up: Etcdup, kind: str) -> None:
    """etcd 3.4 reads it for the next handshake. The cluster stays healthy, and no other host gets its file."""
    before, running = served_files(up), pids(up)
    files = [demo_folder(up) / f"pki/members/{name}/{kind}.pem" for name in NAMES]
    for path in files:
        path.write_bytes(BOM + path.read_bytes())
    done = up("apply", "--yes")
    assert done.returncode == 5, done.stderr
    assert "the new certificates do not work on infra1" in done.stderr
    assert served_files(up) == before
    assert pids(up) == running
    for path in files:
        path.write_bytes(path.read_bytes().removeprefix(BOM))
    assert_nothing_to_do(up)


def test_a_member_that_rejects_its_settings_starts_with_the_previous_ones(up: Etcdup) -> None:
    before, running = served_files(up), pids(up)
    file = demo_folder(up) / "cluster.yaml"
    text = file.read_text()
    file.write_text(with_extra(text, "max-txn-ops: many"))
    done = up("apply", "--yes")
    file.write_text(text)
    assert done.returncode == 5, done.stderr
    assert "its previous files are back, and the member is healthy with them" in done.stderr
    assert served_files(up) == before
    assert sum(one != other for one, other in zip(pids(up), running, strict=True)) == 1
    assert_nothing_to_do(up)
