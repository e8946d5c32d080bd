"""From cluster.yaml and ssh_config to an SSH connection: options, jump hosts, host keys, time limits."""

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import AuthFailed, ConnectFailed
from etcdup.remote.environment import in_operator_environment
from etcdup.remote.secrets import SshSecrets
from etcdup.remote.ssh.errors import NO_KEY_HINT, LoginAttempt, unreachable
from etcdup.remote.ssh.keys import (
    GLOBAL_KNOWN_HOSTS,
    USER_KNOWN_HOSTS,
    Identities,
    KeyUnusable,
    TrustedKeys,
    choose_identities,
)
from etcdup.remote.ssh.library import asyncssh

# A lost peer is detected after KEEPALIVE_S * (KEEPALIVE_COUNT + 1) = 15 s.
KEEPALIVE_S = 5
KEEPALIVE_COUNT = 2

# 180 MB to three hosts took 0.7-1.0 s of CPU time with AES-GCM, and 1.6 s with ChaCha20, asyncssh's first choice.
CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"

# In addition to the key types that known_hosts has for a host, which come first. A host whose key now has another
# type sends that key, so the error can show what changed.
HOST_KEY_TYPES = "+ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*"

# sshd can send any text before the login.
_BANNER_CHARS = 4000
_CONFIG_FILES = ("~/.ssh/config", "/etc/ssh/ssh_config")
_HOP = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\]\s]+\]|[^:@\s]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Hop:
    """A machine to log in to, as written. ssh_config may have more settings for it."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class Login:
    """The settings of a login, complete before the first packet."""

    hop: Hop
    address: str
    port: int
    user: str
    config: tuple[str, ...]
    identities: Identities
    trusted: TrustedKeys
    known_as: str
    host_key_types: str | None
    """None means that HostKeyAlgorithms of ssh_config decides."""
    proxy_command: tuple[str, ...]
    """ProxyCommand of ssh_config, empty if there is none. It gets no secret of etcdup."""


@dataclass(frozen=True)
class SshConnection:
    """A connection after login, the connections to its jump hosts, and the user."""

    connection: asyncssh.SSHClientConnection
    jumps: tuple[asyncssh.SSHClientConnection, ...]
    user: str
    place: str

    async def close(self) -> None:
        for connection in (self.connection, *reversed(self.jumps)):
            await _close(connection)


async def dial(host: HostSpec, ssh: SshSpec, *, secrets: SshSecrets) -> SshConnection:
    """Log in, through jump hosts if there are any. Raises an UnreachableError."""
    logins = await _prepare_logins(host, ssh, secrets)
    open_connections: list[asyncssh.SSHClientConnection] = []
    attempt = _attempt(host, ssh, logins, 0)
    try:
        async with asyncio.timeout(ssh.connect_timeout):
            for index, login in enumerate(logins):
                attempt = _attempt(host, ssh, logins, index)
                below = open_connections[-1] if open_connections else None
                open_connections.append(await _log_in(login, attempt, below))
    except BaseException as error:
        for connection in reversed(open_connections):
            await _close(connection)
        if isinstance(error, asyncssh.Error | OSError | ValueError):
            raise unreachable(error, attempt) from error
        raise
    return SshConnection(open_connections[-1], tuple(open_connections[:-1]), logins[-1].user, attempt.place)


async def _prepare_logins(host: HostSpec, ssh: SshSpec, secrets: SshSecrets) -> list[Login]:
    """Return the logins to a host, jump hosts first. Prompts for passphrases are here, before any timeout starts."""
    target = Hop(host.ssh_address or host.address, ssh.user, ssh.port)
    try:
        return [await _prepare_login(hop, ssh, secrets) for hop in _route(target, ssh, ssh.jump, frozenset())]
    except KeyUnusable as error:
        raise AuthFailed(host.name, f"{host.name}: {error}", hint=error.hint) from None
    except (ValueError, OSError) as error:
        raise ConnectFailed(
            host.name,
            f"{host.name}: the SSH settings for {target.host} cannot be used: {error}",
            hint="correct `ssh:` in cluster.yaml, or your ssh_config",
        ) from None


def _route(target: Hop, ssh: SshSpec, jump: str | None, seen: frozenset[str]) -> list[Hop]:
    """Return the jump hosts before the target, and the target.

    ssh_config may set a jump host for a jump host. With `Host *` it may set one for itself, which is ignored.
    """
    through = jump or _options(target, ssh).config.get("ProxyJump")
    if not through or str(through).lower() == "none":
        return [target]
    jumps = [_parse_hop(text) for text in str(through).split(",")]
    seen |= {target.host}
    if jump is None and jumps[0].host in seen:
        return [target]
    first = _route(jumps[0], ssh, None, seen)
    return [*first, *jumps[1:], target]


def _parse_hop(text: str) -> Hop:
    match = _HOP.fullmatch(text.strip().removeprefix("ssh://"))
    if match is None:
        raise ValueError(f"jump host `{text}` is not of the form user@host:port")
    port = int(match["port"]) if match["port"] else None
    return Hop(match["host"].strip("[]"), match["user"], port)


def _config_files(ssh: SshSpec) -> tuple[str, ...]:
    if ssh.config_file is not None:
        return (str(Path(ssh.config_file).expanduser()),)
    found = (Path(name).expanduser() for name in _CONFIG_FILES)
    return tuple(str(path) for path in found if os.access(path, os.R_OK))


def _options(hop: Hop, ssh: SshSpec) -> asyncssh.SSHClientConnectionOptions:
    """Return the settings of ssh_config for this hop. No key is loaded and no host is trusted."""
    return asyncssh.SSHClientConnectionOptions(
        config=list(_config_files(ssh)),
        host=hop.host,
        port=hop.port or (),
        username=hop.user or (),
        client_keys=None,
        known_hosts=b"",
    )


async def _prepare_login(hop: Hop, ssh: SshSpec, secrets: SshSecrets) -> Login:
    options = _options(hop, ssh)
    config = options.config
    identities = await choose_identities(
        explicit=ssh.identity_file,
        configured=_strings(config.get("IdentityFile")) or (),
        agent_path=_agent_path(config.get("IdentityAgent", os.environ.get("SSH_AUTH_SOCK"))),
        only=bool(config.get("IdentitiesOnly")),
        secrets=secrets,
    )
    return Login(
        hop=hop,
        address=options.host,
        port=options.port,
        user=options.username,
        config=_config_files(ssh),
        identities=identities,
        trusted=TrustedKeys(_known_hosts_files(ssh, options)),
        known_as=options.host_key_alias or options.host,
        host_key_types=None if config.get("HostKeyAlgorithms") else HOST_KEY_TYPES,
        proxy_command=in_operator_environment(options.proxy_command or ()),
    )


def _known_hosts_files(ssh: SshSpec, options: asyncssh.SSHClientConnectionOptions) -> Sequence[str]:
    if ssh.known_hosts is not None:
        return (ssh.known_hosts,)
    user_files = _strings(options.config.get("UserKnownHostsFile"))
    global_files = _strings(options.config.get("GlobalKnownHostsFile"))
    # `none` is an empty list: it means no file, never that each host is trusted.
    return (
        *(USER_KNOWN_HOSTS if user_files is None else user_files),
        *(GLOBAL_KNOWN_HOSTS if global_files is None else global_files),
    )


def _strings(option: object) -> list[str] | None:
    """Return an ssh_config option that is a list, or None if it is not set."""
    return [str(item) for item in option] if isinstance(option, list | tuple) else None


def _agent_path(option: object) -> str | None:
    return str(Path(str(option)).expanduser()) if option else None


def _attempt(host: HostSpec, ssh: SshSpec, logins: Sequence[Login], index: int) -> LoginAttempt:
    login = logins[index]
    before = logins[index - 1] if index else None
    return LoginAttempt(
        host=host.name,
        address=login.address,
        port=login.port,
        user=login.user,
        timeout_s=ssh.connect_timeout,
        keys=login.identities.described,
        known_hosts=login.trusted.files,
        known_as=login.known_as,
        known_keys=login.trusted.keys_of(login.known_as, login.port),
        target=host.ssh_address or host.address,
        via=f"{before.user}@{before.address}:{before.port}" if before else None,
        is_jump=index < len(logins) - 1,
    )


class _LoginObserver(asyncssh.SSHClient):
    """Record how far a login gets and which key the host sends, for the message if it fails."""

    def __init__(self, attempt: LoginAttempt) -> None:
        self._attempt = attempt

    def connection_made(self, _conn: asyncssh.SSHClientConnection) -> None:
        self._attempt.connected = True

    def auth_banner_received(self, msg: str, _lang: str) -> None:
        self._attempt.banner = (self._attempt.banner + msg)[:_BANNER_CHARS]

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self._attempt.offered = key
        return False

    def validate_host_ca_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self._attempt.offered = key
        return False


async def _log_in(
    login: Login, attempt: LoginAttempt, below: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    identities = login.identities
    if not identities.keys and not identities.agent_path:
        raise AuthFailed(
            attempt.host,
            f"{attempt.host}: there is no SSH key for the login to {attempt.place}",
            hint=NO_KEY_HINT,
        )
    return await asyncssh.connect(
        login.hop.host,
        login.hop.port or (),
        config=list(login.config),
        tunnel=below,
        # A ProxyCommand of ssh_config would bypass the jump host.
        proxy_command=None if below else list(login.proxy_command) or None,
        username=login.user,
        client_factory=lambda: _LoginObserver(attempt),
        known_hosts=login.trusted.entries,
        server_host_key_algs=login.host_key_types or (),
        client_keys=list(identities.keys) or (),
        client_certs=list(identities.certificates),
        agent_path=identities.agent_path,
        agent_identities=None if identities.agent_keys is None else list(identities.agent_keys),
        password_auth=False,
        kbdint_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
        encryption_algs=CIPHERS,
        compression_algs=["none"],
        connect_timeout=None,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVE_COUNT,
    )


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    """Close the connection. A peer that does not answer is not waited for."""
    connection.close()
    try:
        async with asyncio.timeout(1):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
        with suppress(asyncssh.Error, OSError):
            await connection.wait_closed()
