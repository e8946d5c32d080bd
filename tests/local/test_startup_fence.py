"""The fence in front of a member's start, by real members: what keeps an old one down, and all that does not."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etcdup.core.host.settings import settings_of, show_settings
from etcdup.core.host.startup_fence import FENCE_PREFIX
from etcdup.core.host.unit import start_script
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.load import load
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_certs import Authority
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

VERSIONS = ("3.4.23", "3.7.1")
KEY = f"{FENCE_PREFIX}prod-old"
WORD = "it continues as prod-new on m1, m2 since 2026-11-25T18:00Z"
S = 60.0


class OldMember:
    """A local member as etcdup sets it up, of a cluster in which m1 and m2 were the others once."""

    def __init__(self, cluster: EtcdCluster, folder: Path, version: str) -> None:
        self.place = cluster.new_member()
        hosts = "".join(
            f"  - {{name: {each.name}, address: {each.address}, local: true, root: {folder}/{each.name}}}\n"
            for each in cluster.members.values()
        )
        spec = load(f"name: prod\nversion: {version}\nhosts:\n{hosts}")
        host = spec.host(self.place.name)
        self.layout = layout_of(spec, host)
        for path in (self.layout.pki, self.layout.versions, self.layout.run, self.layout.data_dir):
            Path(path).mkdir(parents=True, mode=0o700)
        Path(self.layout.current).symlink_to(cluster.binaries)
        settings = settings_of(spec, host, self.layout, "prod-old", peer_common_name=None, trust="")
        Path(self.layout.conf).write_text(show_settings(settings))
        Path(self.layout.unit).write_text(start_script(self.layout))
        self.give_certificates(cluster.authority)

    def give_certificates(self, authority: Authority) -> None:
        pki = Path(self.layout.pki)
        for kind in ("server", "peer", "health"):
            authority.issue(f"prod {kind}", [self.place.address]).write(pki, kind)
        for name in ("ca.pem", "peer-ca.pem"):
            (pki / name).write_bytes(authority.pem)

    def form_cluster(self) -> None:
        """Its very first start, as a cluster of its own."""
        join = Path(self.layout.join)
        join.write_text(f"ETCD_INITIAL_CLUSTER_STATE=new\nETCD_INITIAL_CLUSTER=m3={self.place.peer_url}\n")
        assert self.start() == "", "a first start asks nobody"
        wait_until(lambda: any(Path(self.layout.data_dir).glob("member/wal/*.wal")))
        self.stop()
        join.unlink()

    def start(self) -> str:
        """What its script says: nothing where etcd runs then."""
        argv = ["sh", self.layout.unit]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=S)
        runs = Path(self.layout.pid_file).exists()
        assert (done.returncode == 0, done.stderr == "") == (runs, runs), done
        return done.stderr

    def stop(self) -> None:
        pid_file = Path(self.layout.pid_file)
        if pid_file.exists():
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_running(pid))
            pid_file.unlink()

    def wait_until_up(self) -> bool:
        said = self.start()
        self.stop()
        return said == ""


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """What took the old cluster's place: two members, so that one of them alone has no quorum."""
    with etcd_cluster(etcd_binaries(version), tmp_path_factory.mktemp("new"), size=2) as running:
        yield running


@pytest.fixture(scope="module")
def old(cluster: EtcdCluster, version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldMember]:
    """It has data of its own, and the others know that it is of the past."""
    cluster.etcdctl("m1", "put", KEY, WORD)
    member = OldMember(cluster, tmp_path_factory.mktemp("old"), version)
    try:
        member.form_cluster()
        yield member
    finally:
        member.stop()


def test_it_stays_down_and_says_why(old: OldMember, cluster: EtcdCluster) -> None:
    said = old.start()
    for name in ("m1", "m2"):
        assert f"superseded: {WORD} (key {KEY} of {cluster.members[name].client_url})." in said
    assert "Run etcdup apply" in said


def test_each_of_the_others_is_asked_and_needs_no_quorum(old: OldMember, cluster: EtcdCluster) -> None:
    for name, other in (("m1", "m2"), ("m2", "m1")):
        with cluster.members[name].paused():
            assert cluster.members[other].client_url in old.start()


def test_another_token_is_none_of_its_business(old: OldMember, cluster: EtcdCluster) -> None:
    conf = Path(old.layout.conf)
    text = conf.read_text()
    conf.write_text(text.replace('TOKEN="prod-old"', 'TOKEN="prod-new"'))
    assert old.wait_until_up()
    conf.write_text(text)
    cluster.etcdctl("m1", "del", KEY)
    assert old.wait_until_up()
    cluster.etcdctl("m1", "put", KEY, WORD)


def test_nobody_else_there_is_no_reason_to_stay_down(old: OldMember, cluster: EtcdCluster) -> None:
    with cluster.members["m1"].paused(), cluster.members["m2"].paused():
        assert old.wait_until_up()
    conf = Path(old.layout.conf)
    text = conf.read_text()
    nobody = "".join(line for line in text.splitlines(keepends=True) if "ETCDUP_MEMBERS" not in line)
    for told in (nobody, text.replace(".1:2379 ", ".201:2379 ").replace(".2:2379 ", ".202:2379 ")):
        conf.write_text(told)
        assert old.wait_until_up()
    conf.write_text(text)


def test_only_those_are_believed_that_its_ca_vouches_for(old: OldMember, cluster: EtcdCluster) -> None:
    old.give_certificates(Authority("another CA"))
    assert old.wait_until_up()
    old.give_certificates(cluster.authority)
    cluster.authority.issue("prod health", days=-1).write(Path(old.layout.pki), "health")
    assert old.wait_until_up()
    Path(old.layout.key("health")).unlink()
    assert old.wait_until_up()
    old.give_certificates(cluster.authority)
    assert not old.wait_until_up()


def test_a_start_that_etcdup_vouches_for_asks_nobody(old: OldMember) -> None:
    vouched = Path(old.layout.fence_disabled)
    vouched.touch()
    assert old.wait_until_up()
    vouched.unlink()


def test_without_etcdctl_it_starts(old: OldMember, cluster: EtcdCluster) -> None:
    current = Path(old.layout.current)
    current.unlink()
    current.mkdir()
    shutil.copy(cluster.binaries / "etcd", current)
    assert old.wait_until_up()
    shutil.rmtree(current)
    current.symlink_to(cluster.binaries)


def test_users_of_etcds_own_leave_it_without_an_answer(old: OldMember, cluster: EtcdCluster) -> None:
    for words in ("user add root:secret", "user grant-role root root", "auth enable"):
        cluster.etcdctl("m1", *words.split())
    assert old.wait_until_up()
    cluster.etcdctl("m1", "auth", "disable")
    assert not old.wait_until_up()
