"""`etcd.access` on real members whose users are enabled: etcdup works with a password, which is shown nowhere.

With `client_auth: optional`, etcd takes no user from the certificate of etcdup. Only the password gives it rights.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from etcdup.errors import EXIT_DONE, EXIT_REFUSED
from tests.cli.conftest import Etcdup, demo_folder, running_demo
from tests.support.cases import one_in_turn

pytestmark = pytest.mark.apart

PASSWORD = "ho'u n\"t$er2"
OPTIONAL = "tls: {client_auth: optional}\n"
# Each run of the command is a line in `runs`.
ACCESS = """access: {user: operator, password_command: "sh -c 'echo >>runs; cat password'"}"""


@pytest.fixture(params=one_in_turn("3.6.14", "3.4.23", "3.5.33", "3.7.1"))
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdup]:
    """A demo of this version whose users are enabled. The user `operator` has the role root and a password."""
    with running_demo(tmp_path, str(request.param)) as etcdup:
        enable_users(etcdup)
        yield etcdup


def enable_users(etcdup: Etcdup) -> None:
    for command in (
        ("user", "add", "root", "--new-user-password", "other"),
        ("user", "grant-role", "root", "root"),
        ("user", "add", "operator", "--new-user-password", PASSWORD),
        ("user", "grant-role", "operator", "root"),
        ("auth", "enable"),
    ):
        done = etcdup("ctl", "--", *command)
        assert done.returncode == EXIT_DONE, done.stderr
    # Only now: the options of `ctl` above had it.
    etcdup.secrets.words[PASSWORD] = "the password of the user"
    etcdup.secrets.own.add(password_file(etcdup))
    write_password(etcdup, PASSWORD)


def password_file(etcdup: Etcdup) -> Path:
    return demo_folder(etcdup) / "password"


def write_password(etcdup: Etcdup, text: str) -> None:
    password_file(etcdup).write_text(f"{text}\nanother line\n")


def edit(etcdup: Etcdup, *, access: bool, optional: bool) -> None:
    """Write or remove `etcd.access`, and `client_auth: optional`."""
    file = demo_folder(etcdup) / "cluster.yaml"
    text = file.read_text().replace(f"{ACCESS}, ", "").replace(OPTIONAL, "")
    text = text.replace("etcd: {", f"etcd: {{{ACCESS}, ") if access else text
    file.write_text(f"{text}{OPTIONAL}" if optional else text)


def codes(etcdup: Etcdup) -> set[str]:
    return {each["code"] for each in json.loads(etcdup("check", "--json").stdout)["findings"]}


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(f"{done.stdout} {done.stderr}".split())


@pytest.mark.in_turn(0, 2)
def test_each_verb_works_with_the_password(up: Etcdup) -> None:
    edit(up, access=False, optional=True)
    refused = up("plan")
    assert refused.returncode == EXIT_REFUSED
    assert "password_command" in said(refused)
    edit(up, access=True, optional=True)
    for words in (
        ("apply", "--yes", "-v"),
        ("plan", "--exit-code"),
        ("health",),
        ("ctl", "--", "put", "/a", "kept"),
        ("ctl", "--", "member", "list"),
        ("ctl", "--", "--user=root:other", "get", "/a"),
        ("backup", "now"),
        ("maintain", "defrag", "--yes"),
        ("maintain", "verify"),
        ("ctl", "--", "put", "/a", "lost"),
        ("restore", "latest", "--yes-restore", "demo"),
    ):
        done = up(*words)
        assert done.returncode == EXIT_DONE, (words, done.stderr)
    assert "kept" in said(up("ctl", "--", "get", "/a"))
    runs = demo_folder(up) / "runs"
    runs.unlink()
    saved = up("ctl", "--", "snapshot", "save", str(demo_folder(up) / "saved.db"))
    assert saved.returncode == EXIT_DONE, saved.stderr
    assert runs.read_text() == "\n", "the command may prompt, so it runs once"
    assert not {"access-denied", "access-not-used"} & codes(up)
    write_password(up, "wrong")
    status = said(up("status"))
    # A member of 3.4 has a status without a user. Later members are silent.
    assert "authentication failed" in status or "does not accept the user `operator`" in status
    assert "correct `etcd.access`" in status


@pytest.mark.in_turn(1, 2)
def test_the_user_of_the_file_counts_also_if_the_certificate_has_the_rights(up: Etcdup) -> None:
    """It survives restarts and a restore, and a password that does not work is named."""
    edit(up, access=True, optional=False)
    assert up("plan", "--exit-code").returncode == EXIT_DONE
    for words in (("restart", "--yes"), ("backup", "now"), ("restore", "latest", "--yes-restore", "demo")):
        done = up(*words)
        assert done.returncode == EXIT_DONE, (words, done.stderr)
    for text, why in (("wrong", "does not accept the user `operator`"), ("", "is empty")):
        write_password(up, text)
        plan = up("plan")
        assert (plan.returncode, why in said(plan)) == (EXIT_REFUSED, True)
        status = up("status")
        assert why in said(status)
        assert "3 of 3 voters follow a leader" in said(status)
        assert up("ctl", "--", "get", "/a").returncode != EXIT_DONE
    assert "access-denied" in codes(up)
    password_file(up).unlink()
    assert "exited with status 1" in said(up("plan"))
    # Without users, no password is necessary.
    assert up("ctl", "--", "--user=root:other", "auth", "disable").returncode == EXIT_DONE
    assert up("plan", "--exit-code").returncode == EXIT_DONE
    assert up("ctl", "--", "get", "/a").returncode == EXIT_DONE
    assert "access-not-used" in codes(up)
