"""The translation of errors of asyncssh and the network: each error has one, and causes have different messages."""

import errno
import socket
from collections.abc import Callable, Iterator

import asyncssh
import pytest

from etcdup.errors import AuthFailed, ConnectFailed, HostKeyChanged, HostKeyUnknown, UnreachableError
from etcdup.remote.ssh.errors import LoginAttempt, fingerprint, unreachable


def attempt(**changes: object) -> LoginAttempt:
    settings: dict[str, object] = {
        "host": "infra1",
        "address": "192.0.2.1",
        "port": 22,
        "user": "root",
        "timeout_s": 10,
        "keys": ("~/.ssh/id_ed25519 (SHA256:abc)",),
    }
    return LoginAttempt(**{**settings, **changes})  # type: ignore[arg-type]


def subclasses_of(kind: type[asyncssh.Error]) -> Iterator[type[asyncssh.Error]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses_of(child)


def make_error(kind: type[asyncssh.Error]) -> asyncssh.Error:
    """Return an error of this class: some have a code and a reason, some only a reason."""
    build: Callable[..., asyncssh.Error] = kind
    try:
        return build("the reason")
    except TypeError:
        return build(2, "the reason")


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("ssh-ed25519", "ed25519"), ("ecdsa-sha2-nistp256", "ecdsa"), ("ssh-rsa", "rsa")],
)
def test_the_hint_for_an_unknown_key_names_its_file(algorithm: str, kind: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    error = unreachable(asyncssh.HostKeyNotVerifiable("unknown"), attempt(offered=key))
    assert isinstance(error, HostKeyUnknown)
    assert fingerprint(key) in error.detail
    assert f"`ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub`" in error.hint


NOT_OF_A_LOGIN = (asyncssh.SFTPError, asyncssh.ProcessError)
CONNECTION_ERRORS = [kind for kind in subclasses_of(asyncssh.Error) if not issubclass(kind, NOT_OF_A_LOGIN)]


@pytest.mark.parametrize("kind", CONNECTION_ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_of_asyncssh_is_translated(kind: type[asyncssh.Error]) -> None:
    error = unreachable(make_error(kind), attempt())
    assert isinstance(error, UnreachableError)
    assert error.host == "infra1"
    assert error.message.startswith("infra1: ")
    assert error.hint


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_each_error_of_the_network_is_translated(number: int) -> None:
    error = unreachable(OSError(number, "why"), attempt())
    assert type(error) is ConnectFailed
    assert error.hint


@pytest.mark.parametrize(
    ("cause", "kind", "text"),
    [
        (OSError(errno.ECONNREFUSED, "x"), ConnectFailed, "the connection was refused"),
        (OSError(errno.EHOSTUNREACH, "x"), ConnectFailed, "there is no route"),
        (OSError(errno.ENETUNREACH, "x"), ConnectFailed, "there is no route"),
        (OSError(errno.ETIMEDOUT, "x"), ConnectFailed, "timed out"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), ConnectFailed, "refused"),
        (OSError("without a number"), ConnectFailed, "without a number"),
        (TimeoutError(), ConnectFailed, "no answer from 192.0.2.1 port 22 within 10 s"),
        (socket.gaierror(-2, "x"), ConnectFailed, "the name 192.0.2.1 cannot be resolved"),
        (asyncssh.PermissionDenied("x"), AuthFailed, "does not accept a login of user root"),
        (
            asyncssh.DisconnectError(2, "Too many authentication failures"),
            AuthFailed,
            "does not accept a login of user root",
        ),
        (asyncssh.ConnectionLost("Login timeout expired"), ConnectFailed, "Login timeout expired"),
        (asyncssh.KeyExchangeFailed("No matching cipher"), ConnectFailed, "no SSH algorithm in common"),
        (asyncssh.HostKeyNotVerifiable("Host key is not trusted"), HostKeyUnknown, "is not in known_hosts"),
        (
            asyncssh.HostKeyNotVerifiable("Host key is revoked"),
            HostKeyChanged,
            "differs from the key in known_hosts",
        ),
        (ValueError("odd"), ConnectFailed, "cannot log in"),
    ],
)
def test_the_cause_is_in_the_message(cause: Exception, kind: type[UnreachableError], text: str) -> None:
    error = unreachable(cause, attempt())
    assert type(error) is kind
    assert text in error.message


def test_too_many_keys_has_a_hint_of_its_own() -> None:
    error = unreachable(asyncssh.DisconnectError(2, "Too many authentication failures"), attempt())
    assert "`ssh.identity_file`" in error.hint


def test_a_known_key_makes_the_difference_between_unknown_and_changed() -> None:
    known = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
    error = unreachable(asyncssh.HostKeyNotVerifiable("Host key is not trusted"), attempt(known_keys=[known]))
    assert type(error) is HostKeyChanged
    assert known.get_fingerprint() in error.detail


def test_an_error_of_etcdup_is_unchanged() -> None:
    ours = AuthFailed("infra1", "infra1: no key")
    assert unreachable(ours, attempt()) is ours
