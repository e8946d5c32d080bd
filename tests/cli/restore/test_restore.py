"""`etcdup restore` on real local members: revisions, damaged files, other cluster sizes, a clone, and the undo.

Each of them is killed at each kind of step.
"""

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.restore.client_notes import can_bump
from etcdup.core.spec.version import parse_version
from etcdup.ops.demo import destroy_demo
from tests.cli.conftest import Etcdup, prepare_demo, running_demo, wait_until
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.keyboard import CTRL_C, run_interactively

VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")
YES = ("--yes-restore", "demo")
UNDO = ("restore", "--undo", *YES)
NAME_PROMPT = "Type the name of the cluster to confirm (demo): "
KILL_VERSIONS = ("3.5.33", "3.6.14", "3.7.1")
# The verb is killed at a step of each kind. The same command resumes each time.
KILL_STEPS = (
    "StageRestore",
    "StopMembers",
    "PlaceData",
    "RevokeLeases",
    "OpenClients",
    "StartRestored",
    "FenceOff",
    "SealRestore",
)
SHAPES_VERSION = "3.6.14"
FRESH_KILL_STEPS = ("PrepareHost", "StageRestore", "PlaceData", "StartRestored")
GROW_KILL_STEPS = ("StageRestore", "StopMembers", "PlaceData", "StartRestored", "FenceOff")
SHRINK_KILL_STEPS = ("StopMembers", "RetireMember", "PlaceData", "OpenClients", "FenceOff")
UNDO_KILL_STEPS = (
    "SalvageArchive",
    "StageRestore",
    "StopMembers",
    "PlaceData",
    "RevokeLeases",
    "OpenClients",
    "StartRestored",
)

pytestmark = pytest.mark.apart


@pytest.fixture(params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of this version with a few keys, running."""
    with running_demo(tmp_path, str(request.param)) as etcdup:
        yield etcdup


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Etcdup]:
    """A folder with hosts for five members. A cluster of one member runs on the first host."""
    if why := why_not(SHAPES_VERSION):
        pytest.skip(why)
    etcdup = Etcdup(tmp_path)
    place = tmp_path / ".local/share/etcdup/demo"
    prepare_demo(etcdup, place, 5, SHAPES_VERSION)
    (place / "cluster.yaml").rename(place / "five.yaml")
    etcdup.extra["ETCDUP_FILE"] = str(write_hosts(place, 1))
    done = etcdup("apply", "--yes")
    assert done.returncode == 0, done.stderr
    yield etcdup
    destroy_demo(place)


def write_hosts(place: Path, *numbers: int, name: str = "demo") -> Path:
    """Write a cluster.yaml with only these hosts. Another cluster gets its own folder."""
    lines = (place / "five.yaml").read_text().splitlines(keepends=True)
    named = {f"  - {{name: infra{number}," for number in numbers}
    kept = [line for line in lines if not line.startswith("  - ") or line.partition(",")[0] + "," in named]
    path = (place if name == "demo" else place / name) / "cluster.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(kept).replace("name: demo", f"name: {name}"))
    return path


def run_etcdctl(etcdup: Etcdup, *arguments: str) -> str:
    done = etcdup("ctl", "--", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def version_of(etcdup: Etcdup) -> str:
    text = Path(etcdup.extra["ETCDUP_FILE"]).read_text()
    return next(each for each in VERSIONS if f"version: {each}" in text)


def read_stages(etcdup: Etcdup) -> set[str]:
    """Return the stages of the restore in the markers of the hosts."""
    marks = Path(etcdup.extra["ETCDUP_FILE"]).parent.glob("infra*/etc/etcd/etcdup.json")
    return {json.loads(mark.read_text())["restored"]["stage"] for mark in marks}


def read_revision(etcdup: Etcdup) -> int:
    return int(json.loads(run_etcdctl(etcdup, "get", "/a", "--write-out=json"))["header"]["revision"])


def save_snapshot(etcdup: Etcdup, version: str) -> Path:
    """Take a snapshot of one member with etcdctl (rule 53)."""
    path = etcdup.folder / "snapshot.db"
    variables = etcdup("export", "env")
    assert variables.returncode == 0, variables.stderr
    script = variables.stdout + (
        f'\nETCDCTL_ENDPOINTS="${{ETCDCTL_ENDPOINTS%%,*}}" {etcd_binaries(version)}/etcdctl '
        f"snapshot save {path}\n"
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return path


def put_on_lease(etcdup: Etcdup, key: str, value: str) -> None:
    lease = run_etcdctl(etcdup, "lease", "grant", "3600").split()[1]
    run_etcdctl(etcdup, "put", f"--lease={lease}", key, value)


@contextmanager
def watched_key(etcdup: Etcdup, key: str) -> Iterator[list[str]]:
    """Read the key again and again through each member, as a client does. Yield the values, empty without the key."""
    variables = etcdup("export", "env").stdout
    binary = etcd_binaries(version_of(etcdup)) / "etcdctl"
    read = (
        f"{binary} get {key} --consistency=s --print-value-only --dial-timeout=300ms --command-timeout=300ms"
    )
    loop = (
        f'{variables}\nwhile :; do for url in $(echo "$ETCDCTL_ENDPOINTS" | tr , " "); do '
        f'value=$(ETCDCTL_ENDPOINTS=$url {read} 2>/dev/null) && echo "<$value>"; done; sleep 0.05; done'
    )
    seen: list[str] = []
    with subprocess.Popen(["sh", "-c", loop], stdout=subprocess.PIPE, text=True) as reader:

        def collect() -> None:
            assert reader.stdout is not None
            seen.extend(line.strip()[1:-1] for line in reader.stdout)

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            yield seen
        finally:
            reader.kill()
            thread.join()


@pytest.mark.in_turn(0, 2)
def test_restore(up: Etcdup) -> None:
    run_etcdctl(up, "put", "/a", "kept")
    put_on_lease(up, "/service/pg/leader", "pg2")
    path = save_snapshot(up, version_of(up))
    run_etcdctl(up, "put", "/service/pg/leader", "pg1")
    run_etcdctl(up, "put", "/a", "lost")
    run_etcdctl(up, "put", "/b", "lost")
    before = read_revision(up)
    if version_of(up) == VERSIONS[-1]:  # The file is read before any host is contacted.
        _assert_damage_refused(up, path)
        for answer in ("another", CTRL_C):
            assert run_interactively(up.on_terminal("restore", str(path)), [(NAME_PROMPT, answer)])[0] == 130
        assert run_etcdctl(up, "get", "/b", "--print-value-only") == "lost\n"
    unasked = up("restore", str(path))
    assert unasked.returncode == 2
    with watched_key(up, "/service/pg/leader") as seen:
        for kind in KILL_STEPS if version_of(up) in KILL_VERSIONS else ("PlaceData",):
            up.kill_at(kind, "restore", str(path), *YES)
            if kind == "PlaceData":
                _assert_others_refused(up)
        _finish(up, path)
        wait_until(lambda: seen[-1:] == [""], "the claim of the previous cluster is still there", 30)
    assert "pg1" in seen
    assert "pg2" not in seen, "a client has read the claim of a process of another time"
    assert run_etcdctl(up, "lease", "list").split() == ["found", "0", "leases"]
    assert run_etcdctl(up, "get", "/a", "--print-value-only") == "kept\n"
    assert run_etcdctl(up, "get", "/b") == ""
    if can_bump(parse_version(version_of(up))):
        assert read_revision(up) > before
    restored = read_revision(up)
    again = up("restore", str(path), *YES)
    assert again.returncode == 4
    assert up("plan", "--exit-code").returncode == 0

    for kind in UNDO_KILL_STEPS if version_of(up) in KILL_VERSIONS else ("PlaceData",):
        up.kill_at(kind, *UNDO)
    code, screen = run_interactively(up.on_terminal("restore", "--undo"), [(NAME_PROMPT, "demo")])
    assert code == 0, screen
    if can_bump(parse_version(version_of(up))):
        assert read_revision(up) > restored, "a watch would continue without an error"
    assert run_etcdctl(up, "lease", "list").split() == ["found", "0", "leases"]
    assert run_etcdctl(up, "get", "/b", "--print-value-only") == "lost\n"
    assert up("plan", "--exit-code").returncode == 0
    assert up(*UNDO).returncode == 4


@pytest.mark.in_turn(1, 2)
def test_restore_to_new_hosts_and_to_more_and_fewer_hosts(one: Etcdup) -> None:
    """First a clone next to the cluster, then two hosts more, then two hosts fewer without the first host."""
    place = Path(one.extra["ETCDUP_FILE"]).parent
    run_etcdctl(one, "put", "/a", "kept")
    path = save_snapshot(one, SHAPES_VERSION)
    run_etcdctl(one, "put", "/a", "lost")

    copy = replace(one, extra={"ETCDUP_FILE": str(write_hosts(place, 3, 4, 5, name="copy"))})
    _kill_and_finish(copy, "copy", FRESH_KILL_STEPS, path)
    assert run_etcdctl(copy, "member", "list").count("infra") == 3
    assert run_etcdctl(one, "get", "/a", "--print-value-only") == "lost\n"
    assert copy("destroy", "--yes-destroy", "copy").returncode == 0
    (place / "infra3").rename(place / "former3")

    write_hosts(place, 1, 2, 3)
    _kill_and_finish(one, "demo", GROW_KILL_STEPS, path)
    assert run_etcdctl(one, "member", "list").count("infra") == 3
    run_etcdctl(one, "put", "/a", "lost")
    write_hosts(place, 3)
    _kill_and_finish(one, "demo", SHRINK_KILL_STEPS, path)
    assert run_etcdctl(one, "member", "list").count("infra") == 1
    for number, times in ((1, 2), (2, 1)):
        assert len(list((place / f"infra{number}/var/lib").glob("etcd.aside-*/member"))) == times


def _kill_and_finish(etcdup: Etcdup, name: str, kinds: Sequence[str], path: Path) -> None:
    words = ("restore", str(path), "--yes-restore", name, "--again")
    for kind in kinds:
        etcdup.kill_at(kind, *words)
    done = etcdup(*words)
    assert done.returncode == 0, done.stderr
    assert run_etcdctl(etcdup, "get", "/a", "--print-value-only") == "kept\n"
    # The next apply revokes the certificates of hosts that are not in the restored cluster.
    assert etcdup("apply", "--yes").returncode == 0
    assert etcdup("plan", "--exit-code").returncode == 0


def _assert_others_refused(up: Etcdup) -> None:
    """The markers say that a restore is in progress."""
    assert up("apply", "--yes").returncode == 4
    assert "restore-unfinished" in {
        cause["code"] for cause in json.loads(up("status", "--json").stdout)["causes"]
    }
    assert up("backup", "now").returncode == 4


def _finish(up: Etcdup, path: Path) -> None:
    """Run the restore to its end. If the last kill came after all hosts were sealed, it was already complete."""
    done = up("restore", str(path), *YES)
    if done.returncode == 4:
        assert read_stages(up) == {"done"}
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    assert "kube-apiserver" in done.stderr


def _assert_damage_refused(up: Etcdup, path: Path) -> None:
    """A truncated snapshot or a flipped bit is refused, and the cluster is not changed (rule 54)."""
    whole = path.read_bytes()
    damaged = path.with_name("damaged.db")
    cuts = [whole[: len(whole) // 2], whole[:-32]]
    flips = [
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        for at in range(100, len(whole), len(whole) // 12)
    ]
    for content in [*cuts, *flips[:1], *flips[-1:]]:
        damaged.write_bytes(content)
        done = up("restore", str(damaged), "--yes-restore", "demo")
        assert done.returncode == 4, done.stderr
    assert run_etcdctl(up, "get", "/b", "--print-value-only") == "lost\n"
