"""Verbs on a cluster that is not formed yet. Each names this, and not what it misses first because of it."""

from pathlib import Path

import pytest

from etcdup.core.spec.version import parse_version
from etcdup.ops.demo import write_cluster_file
from tests.cli.conftest import Etcdup
from tests.support.texts import Texts

# The verbs that need a member. `certs renew` and `certs rotate-ca` need a CA first.
VERBS = (
    "backup now",
    "certs list",
    "certs revoke app",
    "maintain defrag",
    "maintain defrag --offline",
    "maintain fix-space",
    "maintain move-leader",
    "maintain repair infra1",
    "maintain space --live",
    "maintain verify",
    "member replace infra1",
    "recover",
    "restart",
    "restart infra1",
    "restart infra1 --drain",
    "restore --undo",
)


@pytest.fixture
def etcdup(tmp_path: Path) -> Etcdup:
    """Three hosts on this machine, without any file."""
    write_cluster_file(tmp_path, parse_version("3.6.14"), "auto", 3)
    return Etcdup(tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_needs_a_member_names_apply(verb: str, etcdup: Etcdup, texts: Texts) -> None:
    texts(etcdup(*verb.split()))
    assert not (etcdup.folder / "infra1").exists(), "nothing is written"


def test_the_log_of_a_member_that_never_started_is_empty(etcdup: Etcdup) -> None:
    done = etcdup("logs")
    assert (done.returncode, done.stdout) == (0, "")
