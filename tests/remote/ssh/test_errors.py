"""The translation of errors of asyncssh and the network: each error has one, and causes have different messages."""

import errno
import socket
from collections.abc import Callable, Iterator

import asyncssh
import pytest

from etcdup.errors import AuthFailed, ConnectFailed, HostKeyChanged, HostKeyUnknown, UnreachableError
from etcdup.remote.ssh.errors import LoginAttempt, fingerprint, unreachable
from tests.support.texts import Texts


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


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_the_hint_for_an_unknown_key_names_its_file(texts: Texts, algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    error = unreachable(asyncssh.HostKeyNotVerifiable("unknown"), attempt(offered=key))
    assert isinstance(error, HostKeyUnknown)
    texts(error, OFFERED=fingerprint(key))


NOT_OF_A_LOGIN = (asyncssh.SFTPError, asyncssh.ProcessError)
CONNECTION_ERRORS = [kind for kind in subclasses_of(asyncssh.Error) if not issubclass(kind, NOT_OF_A_LOGIN)]


@pytest.mark.parametrize("kind", CONNECTION_ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_of_asyncssh_is_translated(kind: type[asyncssh.Error]) -> None:
    error = unreachable(make_error(kind), attempt())
    assert isinstance(error, UnreachableError)
    assert error.host == "infra1"
    assert error.message.partition(":")[0] == "infra1"
    assert error.hint


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_each_error_of_the_network_is_translated(number: int) -> None:
    error = unreachable(OSError(number, "why"), attempt())
    assert type(error) is ConnectFailed
    assert error.hint


CAUSES: dict[str, Exception] = {
    "refused": OSError(errno.ECONNREFUSED, "x"),
    "host unreachable": OSError(errno.EHOSTUNREACH, "x"),
    "network unreachable": OSError(errno.ENETUNREACH, "x"),
    "timed out": OSError(errno.ETIMEDOUT, "x"),
    "several": OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"),
    "no number": OSError("without a number"),
    "no answer": TimeoutError(),
    "unknown name": socket.gaierror(-2, "x"),
    "denied": asyncssh.PermissionDenied("x"),
    "too many keys": asyncssh.DisconnectError(2, "Too many authentication failures"),
    "slow login": asyncssh.ConnectionLost("Login timeout expired"),
    "no cipher": asyncssh.KeyExchangeFailed("No matching cipher"),
    "unknown key": asyncssh.HostKeyNotVerifiable("Host key is not trusted"),
    "revoked key": asyncssh.HostKeyNotVerifiable("Host key is revoked"),
    "another": ValueError("odd"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_in_the_message(texts: Texts, cause: str) -> None:
    texts(unreachable(CAUSES[cause], attempt()))


def test_the_words_of_sshd_are_the_reason_of_a_login_that_it_ends(texts: Texts) -> None:
    """PAM rejects an expired account, and any user while /etc/nologin exists, after sshd accepted the key."""
    banner = "\nMaintenance until noon\n\n"
    error = unreachable(asyncssh.ConnectionLost("Connection lost"), attempt(banner=banner))
    assert isinstance(error, AuthFailed)
    texts(error)


def test_a_known_key_makes_the_difference_between_unknown_and_changed(texts: Texts) -> None:
    known = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
    error = unreachable(asyncssh.HostKeyNotVerifiable("Host key is not trusted"), attempt(known_keys=[known]))
    assert type(error) is HostKeyChanged
    texts(error, KNOWN=known.get_fingerprint())


def test_an_error_of_etcdup_is_unchanged() -> None:
    ours = AuthFailed("infra1", "infra1: no key")
    assert unreachable(ours, attempt()) is ours
