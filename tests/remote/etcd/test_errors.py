"""The translation of each gRPC status to an error of etcdup."""

import pytest

from etcdup.core.observed.member import MemberSeen
from etcdup.errors import EXIT_FAILED, EtcdupError
from etcdup.remote.etcd.answers import member_seen
from etcdup.remote.etcd.errors import (
    BY_CODE,
    AuthRequired,
    EtcdInternalError,
    EtcdRefused,
    EtcdRpcError,
    EtcdTimeout,
    EtcdUnavailable,
    EtcdUnsupported,
    EtcdUntrusted,
    LearnerUnsupported,
    NoLeader,
    NoSpace,
    translate,
)
from etcdup.remote.etcd.grpc_client import Credentials
from etcdup.remote.etcd.grpc_library import grpc, pb
from tests.support.texts import Texts


def test_every_status_code_of_grpc_has_its_error() -> None:
    by_number = sorted(grpc.StatusCode, key=lambda code: code.value[0])
    assert ["OK", *BY_CODE] == [code.name for code in by_number]


@pytest.mark.parametrize("code", [*BY_CODE, "OK", "SOME_NEW_CODE"])
@pytest.mark.parametrize("details", ["", "etcdserver: ", "etcdserver: something new", "whatever"])
def test_any_code_with_any_text_is_an_error_with_a_message(code: str, details: str) -> None:
    error = translate("m1", code, details, 5)
    assert isinstance(error, EtcdRpcError)
    assert isinstance(error, EtcdupError)
    assert error.exit_code == EXIT_FAILED
    assert error.member == "m1"
    assert len(error.message) > len("m1: ")


# Texts and codes of etcd 3.4 to 3.7 and grpcio 1.71 to 1.85.
@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", NoLeader),
        ("UNAVAILABLE", "etcdserver: leader changed", NoLeader),
        ("UNKNOWN", "raft proposal dropped", NoLeader),
        ("UNAVAILABLE", "etcdserver: request timed out, possibly due to connection lost", EtcdTimeout),
        ("UNKNOWN", "context deadline exceeded", EtcdTimeout),
        ("DEADLINE_EXCEEDED", "context deadline exceeded", EtcdTimeout),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", EtcdTimeout),
        ("UNAVAILABLE", "etcdserver: unhealthy cluster", EtcdRefused),
        ("UNAVAILABLE", "etcdserver: server stopped", EtcdUnavailable),
        ("UNAVAILABLE", "etcdserver: rpc not supported for learner", LearnerUnsupported),
        ("FAILED_PRECONDITION", "etcdserver: rpc not supported for learner", LearnerUnsupported),
        ("FAILED_PRECONDITION", "etcdserver: not leader", EtcdRefused),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", NoSpace),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", AuthRequired),
        ("PERMISSION_DENIED", "etcdserver: permission denied", AuthRequired),
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", AuthRequired),
        ("UNIMPLEMENTED", "unknown method Downgrade for service etcdserverpb.Maintenance", EtcdUnsupported),
        ("DATA_LOSS", "etcdserver: corrupt cluster", EtcdInternalError),
        ("UNAVAILABLE", "last error: ipv4:127.0.0.1:1: Socket closed", EtcdUnavailable),
        ("UNAVAILABLE", "connect: Connection refused (111)", EtcdUnavailable),
        ("UNAVAILABLE", "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate", EtcdUntrusted),
        ("UNAVAILABLE", "CERTIFICATE_VERIFY_FAILED: certificate is not yet valid", EtcdUntrusted),
        ("UNAVAILABLE", "OPENSSL_internal:BAD_SIGNATURE: certificate signature failure", EtcdUntrusted),
        ("UNAVAILABLE", "Peer name 127.77.9.9 is not in peer certificate", EtcdUntrusted),
        ("UNAVAILABLE", "Hostname Verification Check failed.", EtcdUntrusted),
        ("UNAVAILABLE", "SSLV3_ALERT_BAD_CERTIFICATE", EtcdUntrusted),
    ],
)
def test_known_texts(code: str, details: str, expected: type[EtcdRpcError]) -> None:
    assert type(translate("m1", code, details, 5)) is expected


def test_a_write_without_space_ends_with_the_command_that_helps(texts: Texts) -> None:
    error = translate("m1", "RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", 5)
    texts(error)


def test_the_text_of_etcd_is_kept() -> None:
    error = translate("m1", "FAILED_PRECONDITION", "etcdserver: too many learner members in cluster", 5)
    assert error.message == "m1: etcdserver: too many learner members in cluster"


def test_keys_are_not_shown() -> None:
    assert repr(Credentials(b"ca", b"cert", b"secret")) == "Credentials()"


@pytest.mark.parametrize(
    ("said", "alarms", "errors"),
    [
        (["memberID:10 alarm:NOSPACE "], ("NOSPACE on member a",), ()),  # until 3.6
        (["memberID:10  alarm:NOSPACE"], ("NOSPACE on member a",), ()),  # 3.7
        (["alarm:CORRUPT "], ("CORRUPT",), ()),  # Rule 82: it has no member.
        (["etcdserver: no leader", "alarm:CORRUPT"], ("CORRUPT",), ("etcdserver: no leader",)),
    ],
)
def test_alarms_are_separated_from_other_errors_in_a_status(
    said: list[str], alarms: tuple[str, ...], errors: tuple[str, ...]
) -> None:
    seen: MemberSeen = member_seen("infra1", pb.StatusResponse(version="3.6.14", errors=said), ())
    assert (seen.alarms, seen.errors) == (alarms, errors)
