"""What can go wrong with a call to a member, and how grpc's words for it become ours.

    EtcdError
    ├── EtcdUnavailable      no connection, or it broke; a change asked for may have been made
    │   └── EtcdUntrusted    TLS: one side does not accept the other's certificate. Waiting does not help
    ├── EtcdTimeout          no answer in time; a change asked for may have been made (rule 72)
    ├── NoLeader             the member is up, but knows no leader; waiting may help
    ├── EtcdRefused          etcd said no, in its own words
    │   ├── AuthRequired     etcd's own users are switched on, and our certificate's name may not do this
    │   └── LearnerRefuses   a learner answers neither linearizable reads nor changes (rule 30)
    ├── EtcdUnsupported      this version of etcd does not know the call
    └── EtcdBroken           an error inside etcd, or an answer that cannot be right

Knows grpc's status codes by name alone, so that importing this does not import grpc.
"""

from typing import NamedTuple

from etcdup.errors import EtcdupError


class EtcdRpcError(EtcdupError):
    """A call to a member failed. `member` is its name in cluster.yaml."""

    def __init__(self, member: str, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(f"{member}: {message}", detail=detail, hint=hint)
        self.member = member


class EtcdUnavailable(EtcdRpcError):
    """There is no working connection to the member's client port."""


class EtcdUntrusted(EtcdUnavailable):
    """The TLS handshake failed on a certificate, theirs or ours."""


class EtcdTimeout(EtcdRpcError):
    """No answer in time, from the member or from the quorum behind it."""


class NoLeader(EtcdRpcError):
    """The member answers, but knows no leader, or just lost one."""


class EtcdRefused(EtcdRpcError):
    """etcd refused the call."""


class AuthRequired(EtcdRefused):
    """etcd's user authentication is on, and we are nobody to it or may not do this."""


class LearnerUnsupported(EtcdRefused):
    """The member is a learner, and this call is not for learners."""


class EtcdUnsupported(EtcdRpcError):
    """The member's version does not have this call."""


class EtcdInternalError(EtcdRpcError):
    """An error inside etcd, corruption among them, or a wrong answer."""


# The status codes of gRPC by name, in the order of their numbers, from 1. UNAVAILABLE and DEADLINE_EXCEEDED are looked
# at more closely below.
BY_CODE: dict[str, type[EtcdRpcError]] = {
    "CANCELLED": EtcdUnavailable,
    "UNKNOWN": EtcdInternalError,
    "INVALID_ARGUMENT": EtcdRefused,
    "DEADLINE_EXCEEDED": EtcdTimeout,
    "NOT_FOUND": EtcdRefused,
    "ALREADY_EXISTS": EtcdRefused,
    "PERMISSION_DENIED": AuthRequired,
    "RESOURCE_EXHAUSTED": EtcdRefused,
    "FAILED_PRECONDITION": EtcdRefused,
    "ABORTED": EtcdRefused,
    "OUT_OF_RANGE": EtcdRefused,
    "UNIMPLEMENTED": EtcdUnsupported,
    "INTERNAL": EtcdInternalError,
    "UNAVAILABLE": EtcdUnavailable,
    "DATA_LOSS": EtcdInternalError,
    "UNAUTHENTICATED": AuthRequired,
}

# etcd's own words come first: it says much by UNAVAILABLE that is no lost connection, and its code for the
# same words is not the same in every minor (a deadline of its own is UNKNOWN in 3.4).
_BY_WORDS: tuple[tuple[str, type[EtcdRpcError]], ...] = (
    ("etcdserver: no leader", NoLeader),
    ("etcdserver: leader changed", NoLeader),
    ("raft proposal dropped", NoLeader),
    ("etcdserver: request timed out", EtcdTimeout),
    ("context deadline exceeded", EtcdTimeout),
    ("etcdserver: rpc not supported for learner", LearnerUnsupported),
    ("etcdserver: user name is empty", AuthRequired),
    ("etcdserver: authentication failed", AuthRequired),
    ("etcdserver: server stopped", EtcdUnavailable),
)

_OURS_HINT = "`etcdup certs list` shows what is wrong with them"


class _Reason(NamedTuple):
    """What grpc, Python or their TLS library says of a connection, in lower case, and what it means."""

    words: tuple[str, ...]
    kind: type[EtcdUnavailable]
    message: str
    hint: str = ""


# The words of grpcio 1.71 to 1.85, and of Python's ssl with OpenSSL 3; the first that fits counts.
_REASONS = (
    _Reason(
        ("certificate has expired",),
        EtcdUntrusted,
        "its certificate has expired",
        "`etcdup certs renew` makes a new one; etcd takes it without a restart",
    ),
    _Reason(
        ("certificate is not yet valid",),
        EtcdUntrusted,
        "its certificate is not valid yet: the clock here is behind the one that it was made by",
        "`etcdup check` compares the clocks",
    ),
    _Reason(
        (
            "hostname verification check failed",
            "is not in peer certificate",
            "address mismatch",
            "hostname mismatch",
        ),
        EtcdUntrusted,
        "its certificate does not hold the address that we know it by",
        "`etcdup certs list` shows the addresses in each certificate",
    ),
    _Reason(
        ("certificate_verify_failed", "certificate signature failure"),  # the latter: a CA of the same name
        EtcdUntrusted,
        "its certificate was signed by an authority that we do not trust",
        "either another cluster answers there, or its CA is not the one that we have",
    ),
    _Reason(
        ("alert_internal_error",),
        EtcdUntrusted,
        "it cannot use its own certificate and key",
        "they may not belong together, or etcd may not read them: `etcdup check` looks; etcd takes mended ones at once",
    ),
    _Reason(
        ("unwrap failed", "_alert_"),
        EtcdUntrusted,
        "it does not accept our client certificate: it has expired, or another authority signed it",
        _OURS_HINT,
    ),
    _Reason(
        ("security handshaker", "empty address list", "pem lib", "no start line", "key values mismatch"),
        EtcdUntrusted,
        "our CA, client certificate and key are damaged, or do not belong together",
        _OURS_HINT,
    ),
    _Reason(
        ("wrong_version_number",),
        EtcdUntrusted,
        "what listens at its client port does not speak TLS",
        "it is another program, or an etcd that was set up without TLS",
    ),
    _Reason(
        ("selected alpn", "failed parsing http/2"),
        EtcdUnavailable,
        "what listens at its client port speaks TLS, but not HTTP/2",
        "it is another program, or a proxy",
    ),
    _Reason(
        ("timed out",), EtcdUnavailable, "the connection to its client port broke: nothing came any more"
    ),
    _Reason(("connection refused",), EtcdUnavailable, "nothing listens at its client port"),
    _Reason(
        ("resolution failed", "errors resolving", "name or service not known", "in name resolution"),
        EtcdUnavailable,
        "the name of its client address is not known",
    ),
    _Reason(
        ("socket closed", "connection reset", "broken pipe", "stream removed", "unexpected_eof"),
        EtcdUnavailable,
        "the connection to its client port was closed: it is stopping, or does not listen yet",
    ),
)


def translate(member: str, code: str, details: str, timeout_s: float) -> EtcdRpcError:
    """grpc's status of a failed call as an EtcdError. Total: every code, with any text, gives one."""
    for words, kind in _BY_WORDS:
        if details.startswith(words):
            return kind(member, details)
    kind = BY_CODE.get(code, EtcdInternalError)
    if kind is EtcdTimeout:
        return EtcdTimeout(member, f"no answer within {timeout_s:g} s", detail=details)
    if kind is EtcdUnavailable:
        # what else etcd says by this code is a no, like `etcdserver: unhealthy cluster`
        return (
            EtcdRefused(member, details)
            if details.startswith("etcdserver: ")
            else _connection_lost(member, details)
        )
    return kind(member, details or code)


def _connection_lost(member: str, details: str) -> EtcdUnavailable:
    lower = details.lower()
    for reason in _REASONS:
        if any(words in lower for words in reason.words):
            return reason.kind(member, reason.message, detail=details, hint=reason.hint)
    return EtcdUnavailable(member, "no connection to its client port", detail=details)
