"""The startup fence with real members: what keeps an old member stopped, and what does not."""

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
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_certs import Authority
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

VERSIONS = ("3.4.23", "3.7.1")
KEY = f"{FENCE_PREFIX}prod-old"
WORD = "it continues as prod-new on m1, m2 since 2026-11-25T18:00Z"
S = 60.0


class OldMember:
    """A local member as etcdup installs it. m1 and m2 were the other members of its cluster."""

    def __init__(self, cluster: EtcdCluster, folder: Path, version: str) -> None:
        self.member = cluster.new_member()
        hosts = "".join(
            f"  - {{name: {each.name}, address: {each.address}, local: true, root: {folder}/{each.name}}}\n"
            for each in cluster.members.values()
        )
        spec = load(f"name: prod\nversion: {version}\nhosts:\n{hosts}")
        host = spec.host(self.member.name)
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
            authority.issue(f"prod {kind}", [self.member.address]).write(pki, kind)
        for name in ("ca.pem", "peer-ca.pem"):
            (pki / name).write_bytes(authority.pem)

    def form_cluster(self) -> None:
        """Start it for the first time, as a cluster of one member, and stop it."""
        join = Path(self.layout.join)
        join.write_text(f"ETCD_INITIAL_CLUSTER_STATE=new\nETCD_INITIAL_CLUSTER=m3={self.member.peer_url}\n")
        assert self.start() == "", "a first start does not ask other members"
        wait_until(lambda: any(Path(self.layout.data_dir).glob("member/wal/*.wal")))
        self.stop()
        join.unlink()

    def start(self) -> str:
        """Run its start script and return stderr, which is empty if etcd runs."""
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

    def starts(self) -> bool:
        """Return whether the start script starts etcd, and stop it."""
        output = self.start()
        self.stop()
        return output == ""


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


@pytest.fixture(scope="module", params=one_in_turn(*VERSIONS))
def version(request: pytest.FixtureRequest) -> str:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="module")
def cluster(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Start the cluster that replaced the old one: two members, so that one alone has no quorum."""
    with etcd_cluster(etcd_binaries(version), tmp_path_factory.mktemp("new"), size=2) as running:
        yield running


@pytest.fixture(scope="module")
def old(cluster: EtcdCluster, version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldMember]:
    """Return an old member with its own data. The new cluster has the key that says that it is superseded."""
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


def test_one_member_without_a_quorum_is_enough(old: OldMember, cluster: EtcdCluster) -> None:
    for name, other in (("m1", "m2"), ("m2", "m1")):
        with cluster.members[name].paused():
            assert cluster.members[other].client_url in old.start()


def test_a_key_of_another_token_has_no_effect(old: OldMember, cluster: EtcdCluster) -> None:
    conf = Path(old.layout.conf)
    text = conf.read_text()
    conf.write_text(text.replace('TOKEN="prod-old"', 'TOKEN="prod-new"'))
    assert old.starts()
    conf.write_text(text)
    cluster.etcdctl("m1", "del", KEY)
    assert old.starts()
    cluster.etcdctl("m1", "put", KEY, WORD)


def test_it_starts_if_no_other_member_answers(old: OldMember, cluster: EtcdCluster) -> None:
    with cluster.members["m1"].paused(), cluster.members["m2"].paused():
        assert old.starts()
    conf = Path(old.layout.conf)
    text = conf.read_text()
    without_members = "".join(line for line in text.splitlines(keepends=True) if "ETCDUP_MEMBERS" not in line)
    for changed in (
        without_members,
        text.replace(".1:2379 ", ".201:2379 ").replace(".2:2379 ", ".202:2379 "),
    ):
        conf.write_text(changed)
        assert old.starts()
    conf.write_text(text)


def test_only_answers_of_members_with_a_certificate_of_its_ca_count(
    old: OldMember, cluster: EtcdCluster
) -> None:
    old.give_certificates(Authority("another CA"))
    assert old.starts()
    old.give_certificates(cluster.authority)
    cluster.authority.issue("prod health", days=-1).write(Path(old.layout.pki), "health")
    assert old.starts()
    Path(old.layout.key("health")).unlink()
    assert old.starts()
    old.give_certificates(cluster.authority)
    assert not old.starts()


def test_a_start_with_the_fence_disabled_does_not_ask(old: OldMember) -> None:
    fence_disabled = Path(old.layout.fence_disabled)
    fence_disabled.touch()
    assert old.starts()
    fence_disabled.unlink()


def test_without_etcdctl_it_starts(old: OldMember, cluster: EtcdCluster) -> None:
    current = Path(old.layout.current)
    current.unlink()
    current.mkdir()
    shutil.copy(cluster.binaries / "etcd", current)
    assert old.starts()
    shutil.rmtree(current)
    current.symlink_to(cluster.binaries)


def test_with_authentication_enabled_there_is_no_answer(old: OldMember, cluster: EtcdCluster) -> None:
    for command in ("user add root:secret", "user grant-role root root", "auth enable"):
        cluster.etcdctl("m1", *command.split())
    assert old.starts()
    cluster.etcdctl("m1", "auth", "disable")
    assert not old.starts()
