"""The errors of a login for the exceptions of asyncssh and the network, with the reason and a hint."""

import errno
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from etcdup.core.spec.visible import one_line
from etcdup.errors import (
    AuthFailed,
    ConnectFailed,
    HostKeyChanged,
    HostKeyUnknown,
    OfferedKey,
    UnreachableError,
)
from etcdup.remote.ssh.library import asyncssh

NO_KEY_HINT = "create a key with `ssh-keygen -t ed25519`, load one with `ssh-add`, or set `ssh.identity_file`"


@dataclass
class LoginAttempt:
    """One login attempt: its parameters, and how far it got."""

    host: str
    """The name of the target host in cluster.yaml."""
    address: str
    """The address of the machine that this attempt connects to: the target host, or a jump host before it."""
    port: int
    user: str
    timeout_s: float
    keys: Sequence[str] = ()
    """The keys that were tried, as shown to the operator."""
    known_hosts: Sequence[str] = ()
    """The known_hosts files that were read; a new key belongs into the first one."""
    known_as: str = ""
    """The name of the host in known_hosts; empty if it is the address."""
    known_keys: Sequence[asyncssh.SSHKey] = ()
    """The keys in those files for this address and port."""
    target: str = ""
    """The address of the target host in cluster.yaml; empty if it is `address`."""
    via: str | None = None
    """The jump host before this one."""
    is_jump: bool = False
    connected: bool = False
    offered: asyncssh.SSHKey | None = field(default=None, repr=False)
    banner: str = ""
    """What sshd sent in the login: `Banner` of sshd_config, or why PAM rejects the account."""

    @property
    def place(self) -> str:
        what = "jump host " if self.is_jump else ""
        through = f" through {self.via}" if self.via else ""
        return f"{what}{self.address} port {self.port}{through}"

    @property
    def entry(self) -> str:
        """Return the address as known_hosts and ssh-keygen write it."""
        name = self.known_as or self.address
        return name if self.port == 22 else f"[{name}]:{self.port}"


def unreachable(error: Exception, attempt: LoginAttempt) -> UnreachableError:
    """Return the error for any exception of a login attempt."""
    if isinstance(error, UnreachableError):
        return error
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _host_key(error, attempt)
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return _key_exchange(error, attempt)
    if _is_login_refusal(error):
        return _auth(error, attempt)
    if isinstance(error, asyncssh.ChannelOpenError):
        return _behind_jump(error, attempt)
    if isinstance(error, TimeoutError):
        return _timed_out(attempt)
    if isinstance(error, asyncssh.Error):
        return _handshake(error, attempt)
    if isinstance(error, OSError):
        return _network(error, attempt)
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: cannot log in to {attempt.place}",
        detail=str(error),
        hint=f"check whether `ssh -p {attempt.port} {attempt.user}@{attempt.address}` works",
    )


def fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def public_key_file(shown: str) -> str:
    """Return the file on the host that has the public key with this fingerprint."""
    algorithm = shown.partition(" ")[0]
    kind = next((kind for kind in ("rsa", "ecdsa") if kind in algorithm), "ed25519")
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


def _host_key(error: asyncssh.HostKeyNotVerifiable, attempt: LoginAttempt) -> UnreachableError:
    if attempt.known_keys or "revoked" in error.reason:
        return _changed(error.reason, attempt)
    shown = fingerprint(attempt.offered) if attempt.offered else "a key that could not be read"
    unknown = HostKeyUnknown(
        attempt.host,
        f"{attempt.host}: the SSH host key of {attempt.place} is not in known_hosts",
        detail=f"shown: {shown}\nread: {', '.join(attempt.known_hosts) or 'no known_hosts file'}",
        hint="compare the fingerprint with the key of the host "
        f"(on the host: `ssh-keygen -lf {public_key_file(shown)}`); "
        "if they are the same: `etcdup trust`",
    )
    unknown.offered = _offered_key(attempt)
    return unknown


def _offered_key(attempt: LoginAttempt) -> OfferedKey | None:
    key = attempt.offered
    if key is None:
        return None
    line = f"{attempt.entry} {key.export_public_key('openssh').decode().strip()}"
    file = _known_hosts_file(attempt)
    return OfferedKey(attempt.host, attempt.place, fingerprint(key), line, file)


def _changed(reason: str, attempt: LoginAttempt) -> HostKeyChanged:
    known = ", ".join(fingerprint(key) for key in attempt.known_keys) or "no key"
    shown = fingerprint(attempt.offered) if attempt.offered else reason
    file = _known_hosts_file(attempt)
    return HostKeyChanged(
        attempt.host,
        f"{attempt.host}: the SSH host key of {attempt.place} differs from the key in known_hosts",
        detail=f"known: {known}\nshown: {shown}\n"
        "The host was reinstalled, another machine has its address now, or the connection is intercepted.",
        hint=f"only if you know why the key changed: `ssh-keygen -R '{attempt.entry}' -f {file}`, "
        f"then `etcdup trust {attempt.target or attempt.address}`",
    )


def _known_hosts_file(attempt: LoginAttempt) -> str:
    return attempt.known_hosts[0] if attempt.known_hosts else "~/.ssh/known_hosts"


def _key_exchange(error: asyncssh.KeyExchangeFailed, attempt: LoginAttempt) -> ConnectFailed:
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: no SSH algorithm in common with {attempt.place}",
        detail=error.reason,
        hint="check HostKeyAlgorithms, KexAlgorithms and Ciphers of the sshd on the host: it is very old or very "
        "restricted",
    )


def _is_login_refusal(error: Exception) -> bool:
    if isinstance(error, asyncssh.PermissionDenied | asyncssh.IllegalUserName):
        return True
    return isinstance(error, asyncssh.DisconnectError) and "authentication failures" in error.reason


def _auth(error: Exception, attempt: LoginAttempt) -> AuthFailed:
    tried = "\n".join(f"tried: {key}" for key in attempt.keys) or "no key was tried"
    if "authentication failures" in str(error):
        hint = "set `ssh.identity_file` to the right key: sshd closed the connection after too many keys"
    elif attempt.keys:
        copy = f"`ssh-copy-id -p {attempt.port} {attempt.user}@{attempt.address}`"
        hint = f"run {copy}, or set `ssh.user` or `ssh.identity_file`"
    else:
        hint = NO_KEY_HINT
    return AuthFailed(
        attempt.host,
        f"{attempt.host}: {attempt.place} does not accept a login of user {attempt.user}",
        detail=tried,
        hint=hint,
    )


def _behind_jump(error: asyncssh.ChannelOpenError, attempt: LoginAttempt) -> ConnectFailed:
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        hint = f"allow TCP forwarding in the sshd_config of {attempt.via} (AllowTcpForwarding, PermitOpen)"
    else:
        hint = f"check from {attempt.via} whether the host runs and its sshd listens on port {attempt.port}"
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: the jump host {attempt.via} cannot reach {attempt.address} port {attempt.port}",
        detail=error.reason,
        hint=hint,
    )


def _timed_out(attempt: LoginAttempt) -> ConnectFailed:
    after = f"within {attempt.timeout_s:g} s"
    if attempt.connected:
        return ConnectFailed(
            attempt.host,
            f"{attempt.host}: {attempt.place} accepted the connection, but the login did not end {after} (timed out)",
            hint=f"check that sshd uses port {attempt.port}; if the host is overloaded, raise `ssh.connect_timeout`",
        )
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: no answer from {attempt.place} {after} (timed out)",
        hint="check whether the host runs, whether the address is right, and whether a firewall drops the packets",
    )


def _handshake(error: asyncssh.Error, attempt: LoginAttempt) -> UnreachableError:
    if attempt.banner:  # sshd sends it after the handshake, with the words of PAM if PAM rejects the account.
        words = one_line("; ".join(filter(None, map(str.strip, attempt.banner.splitlines()))), _BANNER_LIMIT)
        return AuthFailed(
            attempt.host,
            f"{attempt.host}: {attempt.place} ended the login of user {attempt.user}: {words}",
            detail=error.reason,
            hint=f"on the host, run `chage -l {attempt.user}` to see whether the account has expired, and check "
            "/etc/nologin. `journalctl -t sshd` has the reason",
        )
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: {attempt.place} closed the connection in the SSH handshake: {error.reason}",
        hint=_CLOSED_HINT,
    )


_BANNER_LIMIT = 300
_CLOSED_HINT = (
    "check that sshd uses this port. The log of sshd has the reason (MaxStartups, fail2ban, hosts.deny)"
)
_REFUSED = (
    "the connection was refused",
    "start sshd on the host, or correct `ssh.port`: no program listens on this port",
)
_NO_ROUTE = ("there is no route", "check the address, and the network or VPN of this machine")
_RESET = ("the connection was reset", _CLOSED_HINT)
_NETWORK = {
    errno.ECONNREFUSED: _REFUSED,
    errno.EHOSTUNREACH: _NO_ROUTE,
    errno.ENETUNREACH: _NO_ROUTE,
    errno.EADDRNOTAVAIL: _NO_ROUTE,
    errno.ETIMEDOUT: (
        "no answer (timed out)",
        "check whether the host runs, and whether a firewall drops the packets",
    ),
    errno.ECONNRESET: _RESET,
    errno.EPIPE: _RESET,
}


def _network(error: OSError, attempt: LoginAttempt) -> ConnectFailed:
    if isinstance(error, socket.gaierror):
        why = f"the name {attempt.address} cannot be resolved"
        hint = "check `address` or `ssh_address`, or add the name to DNS or /etc/hosts"
    else:
        # If a name has several addresses, asyncio puts the numbers of the errors only into its message.
        in_text = re.search(r"\[Errno (\d+)\]", str(error))
        number = error.errno or (int(in_text[1]) if in_text else 0)
        why, hint = _NETWORK.get(
            number, (str(error), f"check whether `ssh -p {attempt.port} {attempt.address}` works")
        )
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: cannot connect to {attempt.place}: {why}",
        detail=str(error),
        hint=hint,
    )
