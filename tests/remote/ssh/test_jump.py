"""Jump hosts: an sshd behind another sshd, each with its own key."""

import getpass
from pathlib import Path

from etcdup.core.spec.model import SshSpec
from etcdup.errors import HostKeyChanged, HostKeyUnknown
from tests.remote.ssh.test_login import expect_refusal, fingerprint, log_in_and_echo, no_agent
from tests.support.sshd import Sshd, new_key, run_sshd
from tests.support.texts import Texts

__all__ = ["no_agent"]

USER = getpass.getuser()


def ssh_through_jump(front: Sshd, target: Sshd, tmp_path: Path, *known: str, **changes: object) -> SshSpec:
    """Return the settings for the target behind the jump host, with these lines in known_hosts."""
    file = tmp_path / "known"
    file.write_text("".join(known))
    hop = f"{USER}@127.0.0.1:{front.port}"
    return target.ssh(**{"jump": hop, "known_hosts": str(file), "user": USER, **changes})


def fingerprint_of(sshd: Sshd) -> str:
    return fingerprint(sshd.folder / "host_key")


async def test_a_host_is_reached_through_a_jump_host(sshd: Sshd, jump: Sshd, tmp_path: Path) -> None:
    before = jump.log().count("Accepted publickey")
    ssh = ssh_through_jump(jump, sshd, tmp_path, sshd.known_hosts_line(), jump.known_hosts_line())
    assert await log_in_and_echo(sshd.host(), ssh) == "hello\n"
    assert jump.log().count("Accepted publickey") == before + 1


async def test_two_jump_hosts_in_a_row(sshd: Sshd, jump: Sshd, tmp_path: Path) -> None:
    hop = f"{USER}@127.0.0.1:{jump.port}"
    known = (sshd.known_hosts_line(), jump.known_hosts_line())
    assert (
        await log_in_and_echo(
            sshd.host(), ssh_through_jump(jump, sshd, tmp_path, *known, jump=f"{hop},{hop}")
        )
        == "hello\n"
    )


async def test_proxy_jump_of_ssh_config_is_used(sshd: Sshd, jump: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host bastion\n  HostName 127.0.0.1\n  Port {jump.port}\nHost *\n  ProxyJump bastion\n"
    )
    known = (sshd.known_hosts_line(), jump.known_hosts_line())
    before = jump.log().count("Accepted publickey")
    ssh = ssh_through_jump(jump, sshd, tmp_path, *known, jump=None, config_file=str(config))
    assert await log_in_and_echo(sshd.host(), ssh) == "hello\n"
    assert jump.log().count("Accepted publickey") == before + 1


async def test_the_jump_hosts_key_is_checked_too(
    texts: Texts, sshd: Sshd, jump: Sshd, tmp_path: Path
) -> None:
    error = await expect_refusal(sshd.host(), ssh_through_jump(jump, sshd, tmp_path, sshd.known_hosts_line()))
    assert type(error) is HostKeyUnknown
    texts(error, USER=USER, PORT=jump.port, OFFERED=fingerprint_of(jump))
    assert error.offered
    assert error.offered.line.startswith(f"[127.0.0.1]:{jump.port} ")


async def test_the_jump_hosts_key_may_have_changed(
    texts: Texts, sshd: Sshd, jump: Sshd, tmp_path: Path
) -> None:
    other = jump.known_hosts_line(new_key(tmp_path, "other"))
    error = await expect_refusal(
        sshd.host(), ssh_through_jump(jump, sshd, tmp_path, sshd.known_hosts_line(), other)
    )
    assert type(error) is HostKeyChanged
    texts(error, USER=USER, PORT=jump.port, OFFERED=fingerprint_of(jump))


async def test_an_unknown_key_behind_a_jump_host_is_offered_through_it(
    sshd: Sshd, jump: Sshd, tmp_path: Path
) -> None:
    error = await expect_refusal(sshd.host(), ssh_through_jump(jump, sshd, tmp_path, jump.known_hosts_line()))
    assert type(error) is HostKeyUnknown
    assert error.offered
    assert error.offered.line.startswith(f"[127.0.0.1]:{sshd.port} ")


async def test_a_missing_jump_host_is_named(texts: Texts, sshd: Sshd, jump: Sshd, tmp_path: Path) -> None:
    error = await expect_refusal(sshd.host(), ssh_through_jump(jump, sshd, tmp_path, jump="127.0.0.1:1"))
    texts(error, USER=USER)


async def test_a_missing_host_behind_a_jump_host_is_named(
    texts: Texts, sshd: Sshd, jump: Sshd, tmp_path: Path
) -> None:
    error = await expect_refusal(
        sshd.host(), ssh_through_jump(jump, sshd, tmp_path, jump.known_hosts_line(), port=1)
    )
    texts(error, USER=USER, PORT=jump.port)


async def test_a_jump_host_that_forbids_forwarding_is_an_error(
    texts: Texts, sshd: Sshd, tmp_path: Path
) -> None:
    with run_sshd(tmp_path / "own", identity=sshd.identity, options="AllowTcpForwarding no") as strict:
        known = (sshd.known_hosts_line(), strict.known_hosts_line())
        error = await expect_refusal(sshd.host(), ssh_through_jump(strict, sshd, tmp_path, *known))
    texts(error, USER=USER, PORT=sshd.port, JUMP=strict.port)


async def test_a_jump_host_that_requires_another_key_is_named(
    texts: Texts, sshd: Sshd, tmp_path: Path
) -> None:
    with run_sshd(tmp_path / "own") as other:
        known = (sshd.known_hosts_line(), other.known_hosts_line())
        error = await expect_refusal(sshd.host(), ssh_through_jump(other, sshd, tmp_path, *known))
    texts(error, USER=USER, PORT=other.port, KEY=fingerprint(sshd.identity).split()[1])


async def test_a_malformed_jump_host_is_an_error(
    texts: Texts, sshd: Sshd, jump: Sshd, tmp_path: Path
) -> None:
    error = await expect_refusal(sshd.host(), ssh_through_jump(jump, sshd, tmp_path, jump="a b:c"))
    texts(error, USER=USER)
