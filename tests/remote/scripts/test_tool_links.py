"""The links in /usr/local/bin, with a real sh: only those of etcdup are replaced or removed."""

import subprocess
from pathlib import Path

from etcdup.core.host.tool_links import LINK_TOOLS, TOOLS, UNLINK_TOOLS


def run(script: str, folder: Path) -> None:
    argv = ["sh", "-c", script, "links", f"{folder}/opt/etcd", f"{folder}/bin", *TOOLS]
    subprocess.run(argv, check=True)


def test_foreign_programs_and_links_stay(tmp_path: Path) -> None:
    links = tmp_path / "bin"
    links.mkdir()
    (links / "etcdctl").write_text("wrapper")
    (links / "etcdutl").symlink_to("/nowhere/etcdutl")
    run(LINK_TOOLS, tmp_path)
    run(LINK_TOOLS, tmp_path)
    assert (links / "etcd").readlink() == tmp_path / "opt/etcd/current/etcd"
    assert (links / "etcdctl").read_text() == "wrapper"
    assert (links / "etcdutl").readlink() == Path("/nowhere/etcdutl")
    run(UNLINK_TOOLS, tmp_path)
    assert sorted(each.name for each in links.iterdir()) == ["etcdctl", "etcdutl"]


def test_a_link_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    run(LINK_TOOLS, tmp_path)
    run(UNLINK_TOOLS, tmp_path)


def test_an_older_link_of_etcdup_is_replaced(tmp_path: Path) -> None:
    links = tmp_path / "bin"
    links.mkdir()
    (links / "etcd").symlink_to(tmp_path / "opt/etcd/3.6.14/etcd")
    run(LINK_TOOLS, tmp_path)
    assert (links / "etcd").readlink() == tmp_path / "opt/etcd/current/etcd"
