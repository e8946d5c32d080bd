"""The keys that etcdup offers to a host, and the host keys that it trusts."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from etcdup.remote.secrets import KEY_PASSPHRASE_VARIABLE, SshSecrets
from etcdup.remote.ssh.library import asyncssh

DEFAULT_KEY_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


class KeyUnusable(Exception):
    """An identity file cannot be used."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Identities:
    """The keys for one login: from files, and from the agent (all of its keys, or only `agent_keys`)."""

    keys: tuple[asyncssh.SSHKey, ...] = field(default=(), repr=False)
    certificates: tuple[str, ...] = ()
    agent_path: str | None = None
    agent_keys: tuple[bytes, ...] | None = None
    described: tuple[str, ...] = ()


@dataclass(frozen=True)
class _AgentKey:
    public: bytes
    comment: str


async def choose_identities(
    *,
    explicit: str | None,
    configured: Sequence[str],
    agent_path: str | None,
    only: bool,
    secrets: SshSecrets,
) -> Identities:
    """Choose the keys as OpenSSH does: first from the agent, then from files.

    With an explicit file no other key is offered; if the agent has this key, the agent is used. etcdup prompts for a
    passphrase only if there is no other key to try.
    """
    held = await _read_agent_keys(agent_path)
    if explicit is not None:
        return await _load_one_identity(_home(explicit), agent_path, held, secrets)
    files = [_home(file) for file in configured or DEFAULT_KEY_FILES]
    if only:
        wanted = {_public_of(file) for file in files}
        held = [key for key in held if key.public in wanted]
    return await _load_identities([file for file in files if file.is_file()], agent_path, held, secrets)


async def _load_one_identity(
    file: Path, agent_path: str | None, held: Sequence[_AgentKey], secrets: SshSecrets
) -> Identities:
    public = _public_of(file)
    for key in held:
        if key.public == public:
            return Identities(
                agent_path=agent_path, agent_keys=(key.public,), described=(f"{file} (from the agent)",)
            )
    return _from_files({file: await _unlock(file, secrets)}, None, ())


async def _load_identities(
    files: Sequence[Path], agent_path: str | None, held: Sequence[_AgentKey], secrets: SshSecrets
) -> Identities:
    keys, locked = {}, []
    for file in files:
        try:
            key = _open_key(file, None)
        except (OSError, KeyUnusable):
            continue
        if key is None:
            locked.append(file)
        else:
            keys[file] = key
    if not keys and not held and locked:
        keys[locked[0]] = await _unlock(locked[0], secrets)
    return _from_files(keys, agent_path, held)


def _from_files(
    keys: dict[Path, asyncssh.SSHKey], agent_path: str | None, held: Sequence[_AgentKey]
) -> Identities:
    certificates = [f"{file}-cert.pub" for file in keys]
    described = [f"{key.comment or 'a key'} (from the agent)" for key in held]
    described += [f"{file} ({key.get_fingerprint()})" for file, key in keys.items()]
    return Identities(
        keys=tuple(keys.values()),
        certificates=tuple(name for name in certificates if Path(name).is_file()),
        agent_path=agent_path if held else None,
        agent_keys=tuple(key.public for key in held),
        described=tuple(described),
    )


async def _unlock(file: Path, secrets: SshSecrets) -> asyncssh.SSHKey:
    try:
        key = _open_key(file, None)
    except OSError as error:
        raise KeyUnusable(
            f"the identity file {file} cannot be read: {error.strerror}", "correct `ssh.identity_file`"
        ) from None
    if key is not None:
        return key
    passphrase = await secrets.passphrase(str(file))
    if passphrase is None:
        raise KeyUnusable(
            f"the identity file {file} is encrypted, and no passphrase was given",
            f"run `ssh-add {file}`, run etcdup in a terminal to type it, or set {KEY_PASSPHRASE_VARIABLE}",
        )
    key = _open_key(file, passphrase)
    assert key is not None
    return key


def _open_key(file: Path, passphrase: str | None) -> asyncssh.SSHKey | None:
    """Return the private key, or None if it needs a passphrase and none is given."""
    try:
        return _read_key(file, file.stat().st_mtime_ns, passphrase)
    except asyncssh.KeyEncryptionError as error:
        raise _wrong_passphrase(file, error) from None
    except asyncssh.KeyImportError as error:
        if "Passphrase must be specified" in str(error):
            return None
        if passphrase is not None:
            raise _wrong_passphrase(file, error) from None
        raise KeyUnusable(
            f"the identity file {file} is not a private key: {error}", "correct `ssh.identity_file`"
        ) from None


@lru_cache(maxsize=32)
def _read_key(file: Path, _changed_at_ns: int, passphrase: str | None) -> asyncssh.SSHKey:
    """Read a key once for all hosts: to decrypt a key takes a third of a second, by design."""
    return asyncssh.read_private_key(file, passphrase)


def _wrong_passphrase(file: Path, error: Exception) -> KeyUnusable:
    if "bcrypt" in str(error):
        return KeyUnusable(
            f"the identity file {file} is encrypted, and the Python package bcrypt is not installed",
            f"run `ssh-add {file}` to use the agent, or run `pip install bcrypt`",
        )
    return KeyUnusable(
        f"the passphrase for the identity file {file} is wrong",
        f"run `ssh-add {file}`, or check {KEY_PASSPHRASE_VARIABLE}",
    )


def _home(file: str) -> Path:
    return Path(file).expanduser()


def _public_of(file: Path) -> bytes | None:
    """Return the public key, or None if it is not available without a passphrase."""
    for reader, name in ((asyncssh.read_public_key, f"{file}.pub"), (asyncssh.read_private_key, str(file))):
        try:
            key: asyncssh.SSHKey = reader(name)
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            continue
        return key.public_data
    return None


async def _read_agent_keys(agent_path: str | None) -> list[_AgentKey]:
    """Return the keys of the agent; none if there is no agent."""
    if not agent_path:
        return []
    try:
        agent = await asyncssh.connect_agent(agent_path)
    except OSError:
        return []
    try:
        return [_AgentKey(key.public_data, _comment(key)) for key in await agent.get_keys()]
    except ValueError:
        return []
    finally:
        agent.close()
        await agent.wait_closed()


def _comment(key: asyncssh.SSHKeyPair) -> str:
    return (key.get_comment_bytes() or b"").decode(errors="replace")


class TrustedKeys:
    """The host keys in known_hosts files. They are always checked: without an entry each host is unknown."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(files)
        self.entries = asyncssh.SSHKnownHosts()
        for file in self.files:
            self._read(Path(file).expanduser())

    def keys_of(self, host: str, port: int) -> list[asyncssh.SSHKey]:
        """Return the keys of exactly this host and port. The lookup of asyncssh also tries port 22."""
        entry = host if port == 22 else f"[{host}]:{port}"
        return list(self.entries.match(entry, "", None)[0])

    def _read(self, file: Path) -> None:
        if not os.access(file, os.R_OK) or file.is_dir():
            return
        for line in file.read_text(errors="replace").splitlines():
            # OpenSSH ignores lines that it cannot parse too. No host is trusted because of them.
            try:
                self.entries.load(line)
            except ValueError:
                continue
