"""What `adopt` reads on a host is hostile: it is bounded and validated, or it is not readable."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcdup.core.adopt.copies import Copy
from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import files_to_read, member_of
from etcdup.core.adopt.model import HostProcesses, Unreadable
from etcdup.core.adopt.parse_files import Files, parse_files
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.scripts import copy_argv, files_argv, processes_argv
from etcdup.core.spec.load import load
from etcdup.core.spec.visible import one_line
from etcdup.errors import RefusedError
from etcdup.ops.adopt.copy_files import read_copies
from etcdup.remote.host import Host, HostTask, Result
from tests.support.adopt_shapes import GUIDE, NOW, Shape, inspected
from tests.support.texts import Texts

FIRST = """\
@machine
=0
=host1
=1767225600
=100
@process 812
=/usr/local/bin/etcd
=/var/lib/etcd
=root
=5000
=host-network
@argv 812
=etcd
=--name=infra1
=--listen-peer-urls=https://10.0.0.1:2380
@variables 812
=ETCD_DATA_DIR=/var/lib/etcd
@cgroup 812
=0::/system.slice/etcd.service
@container 812
=docker
=0123456789012345678901234567890123456789012345678901234567890123
=etcd
=on-failure
=5
=false
=update
@starters 812
=etcd.service
@mounts 812
=2 1 8:1 /var/lib/etcd /var/lib/etcd rw - ext4 /dev/sda rw
@host-mounts
=1 0 8:1 / / rw - ext4 /dev/sda rw
@packages 812
=etcd-server
@unit 812
=etcd.service
=FragmentPath=/etc/systemd/system/etcd.service
@embedded
=
@marker
@manifests
@apiserver
@timers
@cron
@ansible
@juju
@end
"""
MEMBER = {
    "id": 1, "name": "infra1", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://10.0.0.1:2379"],
}  # fmt: skip
NOBODY = 65534
HOSTILE = [
    "x\n@end\n", "\x1b[2J", "\u202e", "\x01", "9" * 5000, "²", "\ud800", "a" * 100_000, "=", "@", "", "nan", "-1", "[[",
    "{}",
]  # fmt: skip


def answer(members: object, *, version: object = "3.5.16", cluster: str = "cdf818194e3a8c32") -> str:
    head = f"HTTP/1.0 200 OK\r\nX-Etcd-Cluster-Id: {cluster}\r\n\r\n"
    lines = {
        "peer https://10.0.0.1:2380": head + json.dumps(members),
        "version https://10.0.0.1:2380": head + json.dumps({"etcdserver": version}),
    }
    return (
        "".join(
            f"@{name}\n" + "".join(f"={line}\n" for line in text.split("\n")) for name, text in lines.items()
        )
        + "@end\n"
    )


def first(output: str) -> HostProcesses | None:
    fault = ""
    try:
        return parse_processes("infra1", output)
    except Unreadable as error:
        fault = str(error)
    assert one_line(fault) == fault, "it is shown as it is"
    return None


def files(output: str) -> Files | None:
    fault = ""
    try:
        return parse_files(output)
    except Unreadable as error:
        fault = str(error)
    assert one_line(fault) == fault, "it is shown as it is"
    return None


def test_the_output_of_the_scripts_is_read() -> None:
    seen = first(FIRST)
    assert seen is not None
    assert seen.processes[0].argv[1] == "--name=infra1"
    assert seen.processes[0].unit is not None
    read = files(answer([MEMBER]))
    assert read is not None
    assert [each.name for each in read.answer.members] == ["infra1"]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, FIRST.count("\n") - 1), st.one_of(st.text(), st.sampled_from(HOSTILE)), st.booleans())
def test_any_line_gives_a_result_or_is_not_readable(at: int, text: str, quoted: bool) -> None:
    lines = FIRST.split("\n")
    lines[at] = f"={text}" if quoted else text
    first("\n".join(lines))


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_gives_a_result_or_is_not_readable(text: str) -> None:
    first(text)
    files(text)
    files(f"@peer https://10.0.0.1:2380\n={text}\n@end\n")


MEMBERS = [
    [], {}, [1], [{**MEMBER, "id": -1}], [{**MEMBER, "id": 1 << 64}], [{**MEMBER, "id": True}],
    [{**MEMBER, "name": "a\nb"}], [{**MEMBER, "name": 'a"; rm -rf /'}], [{**MEMBER, "name": "a" * 200}],
    [{**MEMBER, "name": "a,b=https://10.0.0.9:2380"}], [{**MEMBER, "name": None}],
    [{**MEMBER, "name": "\x1b[2J"}], [{**MEMBER, "peerURLs": []}], [{**MEMBER, "peerURLs": "https://10.0.0.1:2380"}],
    [{**MEMBER, "peerURLs": ["https://-oProxyCommand=x:2380"]}], [{**MEMBER, "peerURLs": ["https://a b:2380"]}],
    [{**MEMBER, "peerURLs": ["https://10.0.0.1:2380"] * 99}], [{**MEMBER, "clientURLs": ["file:///etc/shadow"]}],
    [MEMBER] * 100,
]  # fmt: skip


@pytest.mark.parametrize("members", MEMBERS, ids=range(len(MEMBERS)))
def test_a_member_list_that_etcd_does_not_write_is_not_readable(members: object) -> None:
    assert files(answer(members)) is None


@pytest.mark.parametrize("version", ["", "3.6", "3.6.14-rc.0", None, 3, "3.6.14\n", "x" * 9999])
def test_a_version_that_is_none_is_not_readable(version: object) -> None:
    read = files(answer([MEMBER], version=version))
    assert read is None or str(read.answer.version) == "3.6.14"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(("--name", "--initial-cluster-token", "--log-level", "--data-dir", "--trusted-ca-file")),
    st.one_of(st.text(), st.sampled_from(HOSTILE)),
)
@example("--trusted-ca-file", "/")
def test_no_value_of_a_host_leaves_its_place_in_the_draft(flag: str, value: str) -> None:
    """Whatever a value is, the draft is refused, or loads with exactly the keys that a draft has."""
    (usual,) = inspected(Shape(argv=GUIDE.argv, ca=GUIDE.ca, names=("infra1",)))
    words = "".join(f"={word}\n" for word in (*usual.process.argv, f"{flag}={value}"))
    read = first(
        FIRST.replace("=--name=infra1\n=--listen-peer-urls=https://10.0.0.1:2380\n", words).replace(
            "=etcd\n", ""
        )
    )
    if read is None:
        return
    try:
        files_to_read(read.processes[0])
        made = draft([member_of(replace(usual, process=read.processes[0]))], Wanted("", "root"), NOW)
    except Unreadable:
        return
    if isinstance(made, Draft):
        assert load(made.text) == made.spec
        assert len(made.spec.hosts) == 1
        assert set(made.spec.etcd.extra) <= {"log-level"}
        assert all(line.isprintable() for line in made.text.split("\n"))


@contextmanager
def process_named_etcd(
    folder: Path, *arguments: str, user: int | None = None, **variables: str
) -> Iterator[str]:
    """Run a program with the name etcd, and yield its pid."""
    program = folder / "etcd"
    program.write_text("#!/bin/sh\nread -r _\n")
    shutil.copy(shutil.which("cat") or "", program)
    process = subprocess.Popen(
        [program, "--", "-", *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=variables, cwd=folder,
        user=user, group=user, extra_groups=None if user is None else (),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != "etcd":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield str(process.pid)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the environment of all processes")
def test_what_a_process_chooses_forges_no_section_and_shows_no_secret(tmp_path: Path) -> None:
    """This runs the real script. The arguments are files that `cat` does not find, so it waits for its stdin."""
    secret = tmp_path / "config.yml"
    secret.write_text("name: infra1\ndiscovery-password: hunter2\n-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n")
    with process_named_etcd(
        tmp_path,
        f"--config-file={secret.name}",
        "x\n@end\n@marker",
        ETCD_DISCOVERY_PASSWORD="hunter2",
        ETCD_DISCOVERY_TOKEN="hunter2",
        ETCDCTL_PASSWORD="hunter2",
        AWS_SECRET_ACCESS_KEY="hunter2",
        HTTPS_PROXY="http://user:hunter2@proxy",
        ETCD_NAME="a\n@end",
    ) as pid:
        done = subprocess.run(processes_argv(), capture_output=True, text=True, errors="replace", check=True)
    assert "hunter2" not in done.stdout
    assert "c2VjcmV0" not in done.stdout
    assert done.stdout.count("\n@end\n") == 1
    assert done.stdout.split("\n@end\n")[1] == ""
    assert f"@process {pid}" in done.stdout.split("\n")
    assert f"@config {pid}" in done.stdout.split("\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process of another user")
def test_a_process_cannot_make_root_read_or_use_a_file_of_root(tmp_path: Path) -> None:
    """Any user can name a process etcd. This runs the real scripts."""
    secret = tmp_path / "secret.yml"
    secret.write_text("name: hunter2\n")
    secret.chmod(0o600)
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with process_named_etcd(folder, f"--config-file={secret}", user=NOBODY) as pid:
            done = subprocess.run(
                processes_argv(), capture_output=True, text=True, errors="replace", check=True
            )
            assert f"@config {pid}" in done.stdout.split("\n")
            assert "hunter2" not in done.stdout
            with socket.create_server(("127.0.0.1", 0)) as server:
                url = f"https://127.0.0.1:{server.getsockname()[1]}"
                argv = files_argv(
                    int(pid),
                    "",
                    certs=[],
                    keys=[],
                    folders=[],
                    urls=[url],
                    tls=("", str(secret), str(secret)),
                )
                done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert parse_files(done.stdout).answer.why, "curl of that user cannot read the key"


def test_of_a_file_only_certificates_are_read(tmp_path: Path) -> None:
    """This runs the real script, on a file with a key, on one that is no certificate, and on a named pipe."""
    mixed = tmp_path / "mixed.pem"
    mixed.write_text(
        "secret\n-----BEGIN CERTIFICATE-----\nQUJD\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
        "-----BEGIN CERTIFICATE-----\nREVG\n-----END CERTIFICATE-----\nsecret\n@end\n"
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    argv = files_argv(
        os.getpid(), "", certs=[str(mixed), str(pipe), "/etc/shadow"], keys=[str(mixed), str(tmp_path / "none")],
        folders=[str(tmp_path)], urls=[], tls=("", "", ""),
    )  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert "secret" not in done.stdout
    assert "c2VjcmV0" not in done.stdout
    read = parse_files(done.stdout)
    assert "REVG" in read.pems[str(mixed)]
    assert read.pems.keys() == {str(mixed)}
    assert read.keys == {str(mixed)}
    assert read.folders[str(tmp_path)].real == str(tmp_path)


class AnsweringHost:
    """A host that answers each command with the same text."""

    name = "infra1"

    def __init__(self, stdout: str, status: int = 0) -> None:
        self._result = Result("infra1", (), status, stdout, "")

    async def run_all(self, tasks: Sequence[HostTask], **options: object) -> list[Result]:
        return [self._result for _ in tasks]


@pytest.mark.parametrize("is_key", [True, False])
@pytest.mark.parametrize(
    "stdout",
    ["", "x", "\x1b[2J" * 9, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
     "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "y" * 300_000],
    ids=["empty", "text", "escapes", "key", "certificate", "long"],
)  # fmt: skip
async def test_what_a_host_sends_for_a_file_is_parsed_before_it_is_written(
    texts: Texts, stdout: str, is_key: bool
) -> None:
    copy = Copy("infra1", 7, "", "/etc/etcd/file.pem", "./pki/file.pem", is_key)
    host = cast("Host", AnsweringHost(stdout))
    with pytest.raises(RefusedError) as refused:
        await read_copies({"infra1": host}, [copy])
    assert len(refused.value.message) < 500
    assert "AAAA" not in f"{refused.value.message} {refused.value.hint} {refused.value.detail}"
    assert "\x1b" not in refused.value.message
    texts(refused.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's process needs root")
def test_a_copy_is_read_with_the_rights_of_the_process(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pem"
    secret.write_text("secret of root")
    secret.chmod(0o600)
    tmp_path.chmod(0o755)
    sleeper = subprocess.Popen(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sleep", "60"]
    )
    try:
        wait_for_user(sleeper.pid)
        done = subprocess.run(
            copy_argv(sleeper.pid, "", str(secret), 100), capture_output=True, text=True, check=False
        )
    finally:
        sleeper.kill()
        sleeper.wait()
    assert done.returncode != 0
    assert "secret of root" not in done.stdout


def wait_for_user(pid: int) -> None:
    while Path(f"/proc/{pid}").stat().st_uid != NOBODY:
        time.sleep(0.01)
