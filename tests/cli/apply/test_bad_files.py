"""`etcdup apply` on real members: bad files, wrong clocks and older copies of the PKI directory."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.layout import MEMBER_CERTS, layout_of
from etcdup.ops.pki.open import open_pki
from tests.cli.conftest import (
    VERSION,
    Etcdup,
    assert_nothing_to_do,
    demo_folder,
    demo_pids,
    demo_spec,
    lines_with,
    refused_rules,
    start_demo,
    steps_of,
)
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts
from tests.support.unparsable_cert import with_unparsable_uri

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))

NAMES = ("infra1", "infra2", "infra3")


@pytest.fixture(scope="module")
def up(etcdup: Etcdup) -> Etcdup:
    start_demo(etcdup)
    return etcdup


def served_files(etcdup: Etcdup) -> dict[str, bytes]:
    """Return the certificates, the keys and the settings on the hosts."""
    roots = [demo_folder(etcdup) / name / "etc/etcd" for name in NAMES]
    files = (path for root in roots for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def assert_no_file_is_left(etcdup: Etcdup) -> None:
    assert_nothing_to_do(etcdup)
    assert not [path for path in served_files(etcdup) if "unproved" in path]


def with_extra(text: str, flag: str) -> str:
    """Return the demo's cluster.yaml with a flag of etcd."""
    return text.replace("etcd: {", f"etcd: {{extra: {{{flag}}}, ", 1)


@pytest.mark.parametrize("kind", ["server", "peer"])
def test_a_certificate_that_etcd_cannot_parse_is_put_back(texts: Texts, up: Etcdup, kind: str) -> None:
    """etcd 3.4 reads it for the next handshake. The cluster stays healthy, and no other host gets its file."""
    before, running = served_files(up), demo_pids(up)
    pki = demo_folder(up) / "pki"
    good = {path: path.read_bytes() for path in (pki / f"members/{name}/{kind}.pem" for name in NAMES)}
    for path, content in good.items():
        path.write_bytes(with_unparsable_uri(content, (pki / "ca-key.pem").read_bytes()))
    done = up("apply", "--yes")
    texts(done)
    assert served_files(up) == before
    assert demo_pids(up) == running
    for path, content in good.items():
        path.write_bytes(content)
    assert_no_file_is_left(up)


def test_a_member_that_rejects_its_settings_starts_with_the_previous_ones(texts: Texts, up: Etcdup) -> None:
    before, running = served_files(up), demo_pids(up)
    file = demo_folder(up) / "cluster.yaml"
    text = file.read_text()
    file.write_text(with_extra(text, "max-txn-ops: many"))
    done = up("apply", "--yes")
    file.write_text(text)
    assert done.returncode == 5, done.stderr
    (name,) = {line.partition(":")[0].strip() for line in done.stderr.splitlines() if ": putting the" in line}
    texts(lines_with("previous", done.stderr), NAME=name)
    assert served_files(up) == before
    assert sum(one != other for one, other in zip(demo_pids(up), running, strict=True)) == 1
    assert_no_file_is_left(up)


def test_certificates_that_are_not_valid_yet_are_replaced_before_any_restart(up: Etcdup) -> None:
    """A machine with a wrong clock issued and installed them. No member answers. The setting changes too."""
    spec, folder = demo_spec(up), demo_folder(up)
    pki = open_pki(spec, folder)
    pki.issue([each.role for each in desired_certs(spec)], datetime.now(UTC) + timedelta(days=250))
    for host in spec.hosts:
        for kind in MEMBER_CERTS:
            Path(layout_of(spec, host).cert(kind)).write_bytes(pki.pair(f"{kind}/{host.name}")[0])
    file = folder / "cluster.yaml"
    file.write_text(with_extra(file.read_text(), "max-txn-ops: 256"))
    assert up("health").returncode == 1
    assert "IssueCertificates" in steps_of(up)
    done = up("apply", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    assert_no_file_is_left(up)


def test_an_older_copy_of_the_pki_is_refused_until_it_is_made_the_newest_one(up: Etcdup) -> None:
    pki, older = demo_folder(up) / "pki", demo_folder(up) / "away/older"
    shutil.copytree(pki, older)
    assert up("certs", "renew", "--days", "100000", "--yes").returncode == 0
    before = served_files(up)
    pki.rename(demo_folder(up) / "away/newer")
    older.rename(pki)
    for verb in (("apply", "--yes"), ("plan",)):
        assert refused_rules(up, *verb) == [[20]]
    assert up("certs", "renew", "--days", "100000", "--yes").returncode == 4
    assert served_files(up) == before
    done = up("certs", "renew", "--this-copy", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_no_file_is_left(up)
