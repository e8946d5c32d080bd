"""A suspended laptop: etcdup is stopped in the middle of a roll, and continues while another operator is at work."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import VERSION, Etcdup, demo_folder, prepare_demo, wait_until
from tests.support.etcd_binaries import why_not
from tests.support.texts import Texts

pytestmark = pytest.mark.skipif(why_not(VERSION) is not None, reason=str(why_not(VERSION)))

MEMBERS = ("infra1", "infra2", "infra3")
# The hosts release the lock after 30 s without a heartbeat.
RELEASED_WITHIN_S = 60.0
AT_WORK_WITHIN_S = 60.0


@pytest.fixture
def place(etcdup: Etcdup) -> Iterator[Path]:
    """Return the folder of a running demo."""
    folder = demo_folder(etcdup)
    prepare_demo(etcdup, folder)
    done = etcdup("apply", "-f", str(folder / "cluster.yaml"), "--yes")
    assert done.returncode == 0, done.stderr
    yield folder
    etcdup("demo", "--down")


def file_with(place: Path, name: str, setting: str) -> str:
    path = place / name
    text = (place / "cluster.yaml").read_text()
    path.write_text(text.replace("etcd: {", f"etcd: {{{setting}, "))
    return str(path)


def locks(place: Path) -> list[str]:
    return [(place / member / "run/etcdup/lock").read_text() for member in MEMBERS]


def pids(place: Path) -> list[str]:
    files = (place / member / "run/etcdup/etcd.pid" for member in MEMBERS)
    return [path.read_text() if path.exists() else "" for path in files]


@pytest.mark.in_turn(1, 2)
def test_an_operator_who_slept_stops_before_the_next_command(
    texts: Texts, etcdup: Etcdup, place: Path
) -> None:
    first = file_with(place, "first.yaml", "heartbeat_ms: 110, election_ms: 1100")
    second = file_with(place, "second.yaml", "heartbeat_ms: 120, election_ms: 1200")
    asleep = etcdup.start_and_stop_at("RestartMember", "apply", "-f", first, "--yes")
    wait_until(lambda: all(locks(place)), "the lock is not taken", AT_WORK_WITHIN_S)
    wait_until(lambda: not any(locks(place)), "the lock is not released", RELEASED_WITHIN_S)
    before = pids(place)
    other = etcdup.start("apply", "-f", second, "--yes")
    wait_until(lambda: pids(place) != before, "the second operator restarts no member", AT_WORK_WITHIN_S)
    asleep.send_signal(signal.SIGCONT)
    _, said = asleep.communicate(timeout=AT_WORK_WITHIN_S)
    assert asleep.returncode == 5, said
    error = said[said.rindex("error: ") :]
    texts(re.sub(r"for \d+ s", "for SECONDS s", error))
    assert other.communicate(timeout=AT_WORK_WITHIN_S)[1]
    assert other.returncode == 0
    assert etcdup("plan", "-f", second).returncode == 0
    for member in MEMBERS:
        assert oct((place / member / "run/etcdup/lock").stat().st_mode & 0o777) == "0o600"
