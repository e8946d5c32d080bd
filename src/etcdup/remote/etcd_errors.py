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


class EtcdError(EtcdupError):
    """A call to a member failed. `member` is its name in cluster.yaml."""

    def __init__(self, member: str, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(f"{member}: {message}", detail=detail, hint=hint)
        self.member = member


class EtcdUnavailable(EtcdError):
    """There is no working connection to the member's client port."""


class EtcdUntrusted(EtcdUnavailable):
    """The TLS handshake failed on a certificate, theirs or ours."""


class EtcdTimeout(EtcdError):
    """No answer in time, from the member or from the quorum behind it."""


class NoLeader(EtcdError):
    """The member answers, but knows no leader, or just lost one."""


class EtcdRefused(EtcdError):
    """etcd refused the call."""


class AuthRequired(EtcdRefused):
    """etcd's user authentication is on, and we are nobody to it or may not do this."""


class LearnerRefuses(EtcdRefused):
    """The member is a learner, and this call is not for learners."""


class EtcdUnsupported(EtcdError):
    """The member's version does not have this call."""


class EtcdBroken(EtcdError):
    """An error inside etcd, corruption among them, or a wrong answer."""


# The status codes of gRPC, by name. UNAVAILABLE and DEADLINE_EXCEEDED are looked at more closely below.
BY_CODE: dict[str, type[EtcdError]] = {
    "CANCELLED": EtcdUnavailable,
    "UNKNOWN": EtcdBroken,
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
    "INTERNAL": EtcdBroken,
    "UNAVAILABLE": EtcdUnavailable,
    "DATA_LOSS": EtcdBroken,
    "UNAUTHENTICATED": AuthRequired,
}

# etcd uses UNAVAILABLE for much that is no lost connection, and other codes from one minor to the next.
_BY_WORDS: tuple[tuple[str, type[EtcdError]], ...] = (
    ("etcdserver: no leader", NoLeader),
    ("etcdserver: leader changed", NoLeader),
    ("etcdserver: request timed out", EtcdTimeout),
    ("etcdserver: rpc not supported for learner", LearnerRefuses),
    ("etcdserver: user name is empty", AuthRequired),
    ("etcdserver: server stopped", EtcdUnavailable),
    ("etcdserver: ", EtcdRefused),
)


class _Reason(NamedTuple):
    """What grpc or its TLS library says of a connection, and what that means."""

    words: str
    kind: type[EtcdUnavailable]
    message: str
    hint: str


_REASONS = (
    _Reason(
        "certificate has expired",
        EtcdUntrusted,
        "its certificate has expired",
        "`etcdup certs renew` makes a new one; etcd takes it without a restart (rule 12)",
    ),
    _Reason(
        "hostname mismatch",
        EtcdUntrusted,
        "its certificate does not hold the address that we expect",
        "`etcdup certs list` shows the addresses in each certificate",
    ),
    _Reason(
        "certificate_verify_failed",
        EtcdUntrusted,
        "its certificate was signed by an authority that we do not trust",
        "this is not the cluster that the certificates here belong to, or its CA was changed",
    ),
)


def translate(member: str, code: str, details: str, timeout_s: float) -> EtcdError:
    """grpc's status of a failed call as an EtcdError. Total: every code and any text gives one."""
    kind = BY_CODE.get(code, EtcdBroken)
    for words, meant in _BY_WORDS:
        if details.startswith(words) and kind in (EtcdUnavailable, EtcdRefused):
            return meant(member, details)
    if kind is EtcdUnavailable:
        return _unavailable(member, details)
    if kind is EtcdTimeout:
        return EtcdTimeout(member, f"no answer within {timeout_s:g} s", detail=details)
    return kind(member, details or code)


def _unavailable(member: str, details: str) -> EtcdUnavailable:
    lower = details.lower()
    for reason in _REASONS:
        if reason.words in lower:
            return reason.kind(member, reason.message, detail=details, hint=reason.hint)
    return EtcdUnavailable(member, "no connection to its client port", detail=details)
