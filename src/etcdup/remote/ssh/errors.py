"""What asyncssh and the network raise, told as our errors: what, why, and what to do next."""

import errno
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from etcdup.errors import AuthFailed, ConnectFailed, HostKeyChanged, HostKeyUnknown, UnreachableError
from etcdup.remote.ssh.library import asyncssh

NO_KEY_HINT = "make a key with `ssh-keygen -t ed25519`, load one with `ssh-add`, or set `ssh.identity_file`"


@dataclass
class LoginAttempt:
    """One login attempt: what was tried, and how far it came."""

    host: str
    """The name in cluster.yaml of the host that is to be reached."""
    address: str
    port: int
    user: str
    timeout_s: float
    keys: Sequence[str] = ()
    """The keys that were tried, as shown to the operator."""
    known_hosts: Sequence[str] = ()
    """The known_hosts files that were read; the first one is where a new key belongs."""
    known_keys: Sequence[asyncssh.SSHKey] = ()
    """What those files say about this address and port."""
    via: str | None = None
    """The jump host in front of it."""
    is_jump: bool = False
    connected: bool = False
    offered: asyncssh.SSHKey | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        what = "jump host " if self.is_jump else ""
        through = f" through {self.via}" if self.via else ""
        return f"{what}{self.address} port {self.port}{through}"

    @property
    def entry(self) -> str:
        """The address as known_hosts and ssh-keygen write it."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"


def unreachable(error: Exception, attempt: LoginAttempt) -> UnreachableError:
    """The error to show for whatever broke a login attempt."""
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
        hint=f"see whether `ssh -p {attempt.port} {attempt.user}@{attempt.address}` works",
    )


def fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def _host_key(error: asyncssh.HostKeyNotVerifiable, attempt: LoginAttempt) -> UnreachableError:
    if attempt.known_keys or "revoked" in error.reason:
        return _changed(error.reason, attempt)
    shown = fingerprint(attempt.offered) if attempt.offered else "a key that could not be read"
    return HostKeyUnknown(
        attempt.host,
        f"{attempt.host}: the SSH host key of {attempt.place} is not in known_hosts",
        detail=f"it shows {shown}\nread: {', '.join(attempt.known_hosts) or 'no known_hosts file'}",
        hint="compare that fingerprint with the host's own "
        "(there: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`); "
        f"if it is the same: {_add_key(attempt)}",
    )


def _changed(reason: str, attempt: LoginAttempt) -> HostKeyChanged:
    known = ", ".join(fingerprint(key) for key in attempt.known_keys) or "no key"
    shown = fingerprint(attempt.offered) if attempt.offered else reason
    file = _known_hosts_file(attempt)
    return HostKeyChanged(
        attempt.host,
        f"{attempt.host}: {attempt.place} shows another SSH host key than known_hosts has for it",
        detail=f"known: {known}\nshown: {shown}\n"
        "The host was installed anew, or its address is another machine's now, or somebody stands between.",
        hint=f"only if you know why it changed: `ssh-keygen -R '{attempt.entry}' -f {file}`, "
        f"then {_add_key(attempt)}",
    )


def _add_key(attempt: LoginAttempt) -> str:
    file = _known_hosts_file(attempt)
    if attempt.via:
        login = f"-p {attempt.port} {attempt.user}@{attempt.address}"
        return f"`ssh -o UserKnownHostsFile={file} -J {attempt.via} {login}`"
    return f"`ssh-keyscan -H -p {attempt.port} {attempt.address} >> {file}`"


def _known_hosts_file(attempt: LoginAttempt) -> str:
    return attempt.known_hosts[0] if attempt.known_hosts else "~/.ssh/known_hosts"


def _key_exchange(error: asyncssh.KeyExchangeFailed, attempt: LoginAttempt) -> ConnectFailed:
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: no SSH algorithm in common with {attempt.place}",
        detail=error.reason,
        hint="the host's sshd is very old or very restricted: see HostKeyAlgorithms, KexAlgorithms, Ciphers",
    )


def _is_login_refusal(error: Exception) -> bool:
    if isinstance(error, asyncssh.PermissionDenied | asyncssh.IllegalUserName):
        return True
    return isinstance(error, asyncssh.DisconnectError) and "authentication failures" in error.reason


def _auth(error: Exception, attempt: LoginAttempt) -> AuthFailed:
    tried = "\n".join(f"tried: {key}" for key in attempt.keys) or "there was no key to try"
    if "authentication failures" in str(error):
        hint = "the host stopped listening after too many keys: name the right one as `ssh.identity_file`"
    elif attempt.keys:
        copy = f"`ssh-copy-id -p {attempt.port} {attempt.user}@{attempt.address}`"
        hint = f"{copy}, or set `ssh.user` or `ssh.identity_file`"
    else:
        hint = NO_KEY_HINT
    return AuthFailed(
        attempt.host,
        f"{attempt.host}: {attempt.place} did not let user {attempt.user} in",
        detail=tried,
        hint=hint,
    )


def _behind_jump(error: asyncssh.ChannelOpenError, attempt: LoginAttempt) -> ConnectFailed:
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        hint = f"allow TCP forwarding in the sshd_config of {attempt.via} (AllowTcpForwarding, PermitOpen)"
    else:
        hint = f"see from {attempt.via} whether the host is up and its sshd listens on port {attempt.port}"
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
            f"{attempt.host}: {attempt.place} took the connection, but no login {after} (timed out)",
            hint=f"is port {attempt.port} sshd's? If so the host is overloaded: raise `ssh.connect_timeout`",
        )
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: no answer from {attempt.place} {after} (timed out)",
        hint="the host is down, the address is wrong, or a firewall drops the packets",
    )


def _handshake(error: asyncssh.Error, attempt: LoginAttempt) -> ConnectFailed:
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: {attempt.place} ended the SSH handshake: {error.reason}",
        hint=_HUNG_UP_HINT,
    )


_HUNG_UP_HINT = "is that port sshd's? If so its log tells why it hung up (MaxStartups, fail2ban, hosts.deny)"
_REFUSED = (
    "the connection was refused",
    "nothing listens there: start sshd on the host, or set `ssh.port`",
)
_NO_ROUTE = ("there is no route", "check the address, and this machine's network or VPN")
_RESET = ("the connection was reset", _HUNG_UP_HINT)
_NETWORK = {
    errno.ECONNREFUSED: _REFUSED,
    errno.EHOSTUNREACH: _NO_ROUTE,
    errno.ENETUNREACH: _NO_ROUTE,
    errno.EADDRNOTAVAIL: _NO_ROUTE,
    errno.ETIMEDOUT: ("no answer (timed out)", "the host is down, or a firewall drops the packets"),
    errno.ECONNRESET: _RESET,
    errno.EPIPE: _RESET,
}


def _network(error: OSError, attempt: LoginAttempt) -> ConnectFailed:
    if isinstance(error, socket.gaierror):
        why = f"the name {attempt.address} was not found"
        hint = "check `address` or `ssh_address`, or add the name to DNS or /etc/hosts"
    else:
        # With several addresses to one name, asyncio tells the errors in words only.
        in_words = re.search(r"\[Errno (\d+)\]", str(error))
        number = error.errno or (int(in_words[1]) if in_words else 0)
        why, hint = _NETWORK.get(
            number, (str(error), f"see whether `ssh -p {attempt.port} {attempt.address}` works")
        )
    return ConnectFailed(
        attempt.host,
        f"{attempt.host}: cannot connect to {attempt.place}: {why}",
        detail=str(error),
        hint=hint,
    )
