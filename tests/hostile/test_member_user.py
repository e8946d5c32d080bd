"""The scripts that choose the user of a command, as root with a real sh. User `daemon` takes the part of user etcd."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from etcdup.core.host.member_user import AS_USER, IN_FOLDER, OWN_FOLDER
from tests.support.texts import Texts

USER = "daemon"
why_not = "" if os.geteuid() == 0 and shutil.which("setpriv") else "it needs root and setpriv"
pytestmark = pytest.mark.skipif(bool(why_not), reason=why_not)


@dataclass(frozen=True)
class Tree:
    """`top` belongs to root. `data` in it belongs to the user. `secret` is a directory that the user cannot enter."""

    top: Path
    data: Path
    secret: Path


@pytest.fixture
def tree() -> Iterator[Tree]:
    # pytest's directories are below /tmp, where each user can make names. The tests need parents that only root writes.
    with tempfile.TemporaryDirectory(dir="/var/lib", prefix="etcdup-test-") as folder:
        top = Path(folder)
        top.chmod(0o755)
        tree = Tree(top, top / "data", top / "secret")
        for each in (tree.data, tree.secret):
            each.mkdir(mode=0o700)
        (tree.secret / "canary").write_text("root's")
        own(tree.data)
        yield tree


def own(path: Path) -> None:
    entry = pwd.getpwnam(USER)
    os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def run(script: str, *arguments: str, umask: int = 0o022) -> "subprocess.CompletedProcess[str]":
    argv = ("sh", "-c", script, "script", USER, *arguments)
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, umask=umask)


def user_in(folder: str) -> str:
    return run(IN_FOLDER, folder, "id", "-un").stdout.strip()


def canary(tree: Tree) -> tuple[object, ...]:
    """Return what only root may change: contents, owners, modes and names."""
    found = [(tree.secret / "canary").read_text(), sorted(each.name for each in tree.secret.iterdir())]
    return *found, *((each.lstat().st_uid, each.lstat().st_mode) for each in (tree.secret, tree.top))


def test_a_command_of_the_user_has_no_way_back_to_more_rights(tree: Tree) -> None:
    status = run(AS_USER, "cat", "/proc/self/status").stdout.splitlines()
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    entry = pwd.getpwnam(USER)
    assert fields["Uid"].split() == [str(entry.pw_uid)] * 4
    assert fields["Gid"].split() == [str(entry.pw_gid)] * 4
    assert fields["Groups"].strip() == ""
    assert fields["NoNewPrivs"] == "1"
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


def test_root_acts_only_where_no_other_user_can_change_names(tree: Tree) -> None:
    nested = tree.data / "root's"
    nested.mkdir(mode=0o755)
    shared, group = tree.top / "shared", tree.top / "group"
    for folder, mode in ((shared, 0o777), (group, 0o775)):
        folder.mkdir()
        folder.chmod(mode)
    os.chown(group, 0, pwd.getpwnam(USER).pw_gid)
    assert user_in(str(tree.top)) == "root"
    assert [user_in(str(each)) for each in (tree.data, nested, shared, group)] == [USER] * 4


def test_links_of_root_are_followed_and_links_of_the_user_only_as_the_user(tree: Tree) -> None:
    (tree.top / "by-root").symlink_to("data")
    (tree.top / "to-root").symlink_to(tree.secret)
    (tree.data / "by-user").symlink_to(tree.secret)
    (tree.data / "up").symlink_to("..")
    assert user_in(f"{tree.top}/by-root") == USER
    assert user_in(f"{tree.top}/to-root") == "root"
    assert user_in(f"{tree.data}/up") == USER
    before = canary(tree)
    for folder in (f"{tree.data}/by-user", f"{tree.top}/by-root/by-user", f"{tree.data}/up/secret"):
        run(IN_FOLDER, folder, "touch", "made")
        run(IN_FOLDER, folder, "rm", "-f", "canary")
        run(OWN_FOLDER, f"{USER}:", "0777", folder)
        run(OWN_FOLDER, f"{USER}:", "0777", f"{folder}/new")
    assert canary(tree) == before


def test_a_directory_of_the_user_is_made_and_corrected(tree: Tree) -> None:
    wanted = f"{USER}:"
    for path in (tree.top / "new/data", tree.data, tree.data / "wal"):
        for _ in range(2):
            assert run(OWN_FOLDER, wanted, "0700", str(path), umask=0o077).returncode == 0
        made = path.stat()
        assert (made.st_uid, made.st_mode & 0o7777) == (pwd.getpwnam(USER).pw_uid, 0o700)
    parent = (tree.top / "new").stat()
    assert (parent.st_uid, parent.st_mode & 0o7777) == (0, 0o755), "the umask of the login has no effect"
    (tree.data / "of-root").mkdir()
    assert run(OWN_FOLDER, wanted, "0700", str(tree.data / "of-root")).returncode != 0


def test_names_that_a_shell_could_misread_are_only_names(tree: Tree) -> None:
    before = canary(tree)
    for name in ("-", "-rf", "a b", "$(touch x)", "*", "a\nb", "'"):
        folder = tree.top / name
        assert run(OWN_FOLDER, f"{USER}:", "0700", str(folder)).returncode == 0
        assert run(IN_FOLDER, str(folder), "touch", "made").returncode == 0
        assert [each.name for each in folder.iterdir()] == ["made"]
        shutil.rmtree(folder)
    assert canary(tree) == before


def test_without_setpriv_nothing_is_done(texts: Texts, tree: Tree, tmp_path: Path) -> None:
    for tool in ("sh", "id", "touch"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    argv = ("sh", "-c", IN_FOLDER, "script", USER, str(tree.data), "touch", "made")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    texts(done)
    assert list(tree.data.iterdir()) == []
