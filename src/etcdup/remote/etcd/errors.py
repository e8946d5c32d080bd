"""The errors of calls to a member, and the translation of gRPC's errors to them.

    EtcdRpcError
    ├── EtcdUnavailable        no connection, or it broke; a requested change may have been made
    │   └── EtcdUntrusted      TLS: one side does not accept the certificate of the other; waiting does not help
    ├── EtcdTimeout            no answer in time; a requested change may have been made (rule 72)
    ├── NoLeader               the member runs, but has no leader; waiting may help
    ├── EtcdRefused            etcd refused the call; the message is etcd's
    │   ├── NoSpace            the database has reached its quota: reads and deletes still work (rule 70)
    │   ├── AuthRequired       etcd's authentication is enabled, and the user has no permission
    │   └── LearnerUnsupported a learner does not serve linearizable reads or changes (rule 30)
    ├── EtcdUnsupported        this version of etcd does not have the call
    └── EtcdInternalError      an error inside etcd, or an answer that cannot be correct

Status codes are strings here, so that an import of this module does not import grpc.
"""

from typing import NamedTuple

from etcdup.core.members.limits import FREE_SPACE_HINT
from etcdup.errors import EtcdupError


class EtcdRpcError(EtcdupError):
    """A call to a member failed. `member` is its name in cluster.yaml."""

    def __init__(self, member: str, message: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(f"{member}: {message}", detail=detail, hint=hint)
        self.member = member


class EtcdUnavailable(EtcdRpcError):
    """There is no working connection to the member's client port."""


class EtcdUntrusted(EtcdUnavailable):
    """The TLS handshake failed because of the server certificate or the client certificate."""

    lasting = True


class EtcdTimeout(EtcdRpcError):
    """There is no answer in time, from the member or from the quorum."""


class NoLeader(EtcdRpcError):
    """The member answers, but has no leader, or has just lost its leader."""


class EtcdRefused(EtcdRpcError):
    """etcd refused the call."""


class NoSpace(EtcdRefused):
    """The database of a member has reached its quota, so that etcd refuses the write."""


class Compacted(EtcdRefused):
    """The history up to this revision is already compacted."""


class AuthRequired(EtcdRefused):
    """etcd's authentication is enabled, and the client has no user or no permission for this call."""


class LearnerUnsupported(EtcdRefused):
    """The member is a learner, and learners do not serve this call."""


class EtcdUnsupported(EtcdRpcError):
    """The version of the member does not have this call."""


class EtcdInternalError(EtcdRpcError):
    """There is an error inside etcd, for example corruption, or the answer is wrong."""


# The status codes of gRPC by name, in the order of their numbers, from 1. `translate` distinguishes more cases of
# UNAVAILABLE and DEADLINE_EXCEEDED.
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

# The text of etcd's error counts before its code: etcd uses UNAVAILABLE also for errors that are no lost connection,
# and the code of one text differs between minors (a deadline inside etcd is UNKNOWN in 3.4).
_BY_TEXT: tuple[tuple[str, type[EtcdRpcError]], ...] = (
    ("etcdserver: no leader", NoLeader),
    ("etcdserver: leader changed", NoLeader),
    ("raft proposal dropped", NoLeader),
    ("etcdserver: request timed out", EtcdTimeout),
    ("context deadline exceeded", EtcdTimeout),
    ("etcdserver: mvcc: database space exceeded", NoSpace),
    ("etcdserver: mvcc: required revision has been compacted", Compacted),
    ("etcdserver: rpc not supported for learner", LearnerUnsupported),
    ("etcdserver: user name is empty", AuthRequired),
    ("etcdserver: user name not found", AuthRequired),
    ("etcdserver: authentication failed", AuthRequired),
    ("etcdserver: revision of auth store is old", AuthRequired),
    ("auth: ", AuthRequired),  # 3.4 and 3.5 do not translate these: user not found, permission denied.
    ("etcdserver: server stopped", EtcdUnavailable),
)

_ACCESS_HINT = "authentication (auth) is enabled: run `etcdup status`, which shows the commands that help"
# etcd does so if clients need no certificate, and since 3.5 also for the status of a member.
_NO_USER = "user name is empty"
_NO_USER_HINT = (
    "authentication (auth) is enabled, and etcd takes no user from the certificate of etcdup: add "
    "`access: {user: USER, password_command: COMMAND}` below `etcd` in cluster.yaml"
)
_OWN_CERTIFICATE_HINT = "run `etcdup certs list`: it shows which certificate or key is wrong"


class _Reason(NamedTuple):
    """The texts of gRPC or its TLS library for a failed connection, in lower case, and what they mean."""

    texts: tuple[str, ...]
    kind: type[EtcdUnavailable]
    message: str
    hint: str = ""


# The texts of grpcio 1.71 to 1.85. The first reason that matches counts.
_REASONS = (
    _Reason(
        ("certificate has expired",),
        EtcdUntrusted,
        "the server certificate has expired",
        "run `etcdup certs renew`: etcd loads the new certificate without a restart",
    ),
    _Reason(
        ("certificate is not yet valid",),
        EtcdUntrusted,
        "the server certificate is not valid yet: a clock is wrong now, or was wrong when it was issued",
        "run `etcdup check`: it compares the clocks. If they are right, run `etcdup apply`: it issues the certificate "
        "again",
    ),
    _Reason(
        (
            "hostname verification check failed",
            "is not in peer certificate",
            "address mismatch",
            "hostname mismatch",
        ),
        EtcdUntrusted,
        "the server certificate does not contain the address in cluster.yaml",
        "run `etcdup certs list`: it shows the addresses in each certificate",
    ),
    _Reason(
        ("certificate_verify_failed", "certificate signature failure"),  # the latter: a CA of the same name
        EtcdUntrusted,
        "the server certificate was signed by a CA that is not in the CA file of etcdup",
        "run `etcdup certs list`: either the member of another cluster answers, or the CA was replaced",
    ),
    _Reason(
        ("alert_internal_error",),
        EtcdUntrusted,
        "etcd cannot use its server certificate and key",
        "run `etcdup check`: they may not match, or etcd may have no permission to read them. etcd loads corrected "
        "files without a restart",
    ),
    _Reason(
        ("unwrap failed", "_alert_"),
        EtcdUntrusted,
        "etcd does not accept the client certificate of etcdup: it has expired or is not valid yet, or another CA "
        "signed it",
        "run `etcdup apply`: it replaces a certificate that is expired or not valid yet. `etcdup certs list` shows all "
        "certificates",
    ),
    _Reason(
        ("security handshaker", "empty address list", "pem lib", "no start line", "key values mismatch"),
        EtcdUntrusted,
        "the CA file, client certificate and key of etcdup are damaged, or do not match",
        _OWN_CERTIFICATE_HINT,
    ),
    _Reason(
        ("wrong_version_number",),
        EtcdUntrusted,
        "the program at the client port does not use TLS",
        "check which program uses the port: it is not etcd, or etcd has no TLS",
    ),
    _Reason(
        ("selected alpn", "failed parsing http/2"),
        EtcdUnavailable,
        "the program at the client port uses TLS, but not HTTP/2",
        "check which program uses the port: it is not etcd, or a proxy is in between",
    ),
    _Reason(("timed out",), EtcdUnavailable, "the connection to the client port timed out"),
    _Reason(("connection refused",), EtcdUnavailable, "no program listens on the client port"),
    _Reason(
        ("resolution failed", "errors resolving", "name or service not known", "in name resolution"),
        EtcdUnavailable,
        "the name in the client address cannot be resolved",
    ),
    _Reason(
        ("socket closed", "connection reset", "broken pipe", "stream removed", "unexpected_eof"),
        EtcdUnavailable,
        "the connection to the client port was closed: etcd is stopping, or is not ready yet",
    ),
)


def translate(member: str, code: str, details: str, timeout_s: float) -> EtcdRpcError:
    """Return the error for the gRPC status of a failed call. Each code, with any text, has an error."""
    for text, kind in _BY_TEXT:
        if details.startswith(text):
            return kind(member, details, hint=_hint_of(kind, details))
    kind = BY_CODE.get(code, EtcdInternalError)
    if kind is EtcdTimeout:
        return EtcdTimeout(member, f"no answer within {timeout_s:g} s", detail=details)
    if kind is EtcdUnavailable:
        # Other errors of etcd with this code are refusals, for example `etcdserver: unhealthy cluster`.
        return (
            EtcdRefused(member, details)
            if details.startswith("etcdserver: ")
            else _connection_lost(member, details)
        )
    return kind(member, details or code, hint=_hint_of(kind, details))


def _hint_of(kind: type[EtcdRpcError], details: str) -> str:
    if kind is NoSpace:
        return FREE_SPACE_HINT
    if kind is not AuthRequired:
        return ""
    return _NO_USER_HINT if _NO_USER in details else _ACCESS_HINT


def _connection_lost(member: str, details: str) -> EtcdUnavailable:
    lower = details.lower()
    for reason in _REASONS:
        if any(text in lower for text in reason.texts):
            return reason.kind(member, reason.message, detail=details, hint=reason.hint)
    return EtcdUnavailable(member, "no connection to the client port", detail=details)
