"""Rejected clients, from the log lines of each minor of etcd."""

import json
from datetime import UTC, datetime

import pytest

from etcdup.core.certs.connected_clients import last_rejections

UNKNOWN = (
    'x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while '
    'trying to verify candidate authority certificate "etcdup:prod:ca")'
)


def log_line(at: str, message: str, address: str, error: str) -> str:
    """Return a log line as etcd writes it."""
    entry = {"level": "warn", "ts": at, "caller": "embed/config_logging.go:177", "msg": message}
    return json.dumps(entry | {"remote-addr": address, "server-name": "", "error": error})


ON_CLIENT = "rejected connection on client endpoint"
LOGS = {
    "3.4.23": log_line(
        "2026-11-25T15:03:07.477Z",
        "rejected connection",
        "10.0.0.9:44652",
        f"tls: failed to verify client certificate: {UNKNOWN}",
    ),
    "3.5.33": log_line(
        "2026-11-25T15:05:55.693275Z",
        ON_CLIENT,
        "[2001:db8::9]:35598",
        f"tls: failed to verify certificate: {UNKNOWN}",
    ),
    "no certificate": log_line(
        "2026-11-25T15:05:58.706434Z", ON_CLIENT, "10.0.0.8:35630", "tls: client didn't provide a certificate"
    ),
    "unrelated CA": log_line(
        "2026-11-25T15:05:58.706434Z",
        ON_CLIENT,
        "10.0.0.7:35630",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
    ),
    "time without a zone": log_line(
        "2026-11-25T15:05:58", ON_CLIENT, "10.0.0.6:35630", f"tls: failed to verify certificate: {UNKNOWN}"
    ),
}


@pytest.mark.parametrize(("version", "address"), [("3.4.23", "10.0.0.9"), ("3.5.33", "2001:db8::9")])
def test_addresses_rejected_for_the_old_ca_are_read(version: str, address: str) -> None:
    cut = LOGS["3.5.33"].replace("}", "")
    log = ["Started etcd.service", cut, *LOGS.values()]
    seen = last_rejections([LOGS[version]], datetime(2026, 11, 25, 15, tzinfo=UTC))
    assert tuple(seen) == (address,)
    assert tuple(last_rejections(log, datetime(2026, 11, 25, 15, tzinfo=UTC))) == ("10.0.0.9", "2001:db8::9")
    assert tuple(last_rejections(log, datetime(2026, 11, 25, 15, 6, tzinfo=UTC))) == ()
