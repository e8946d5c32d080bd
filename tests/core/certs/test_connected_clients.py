"""Connected and rejected clients, from the output of real hosts and of each minor of etcd."""

import json
from datetime import UTC, datetime

import pytest

from etcdup.core.certs.connected_clients import connected_addresses, rejected_addresses

SOCKETS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 4208A8C0:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 16 1 0
   1: 4208A8C0:094B 0108A8C0:E5C2 01 00000000:00000000 00:00000000 00000000   998        0 17 1 0
   2: 4208A8C0:094B 4208A8C0:B1AE 01 00000000:00000000 00:00000000 00000000   998        0 18 1 0
   3: 4208A8C0:B1AE 4208A8C0:094B 01 00000000:00000000 00:00000000 00000000     0        0 19 1 0
   4: 4208A8C0:0016 0208A8C0:B1AF 01 00000000:00000000 00:00000000 00000000     0        0 20 1 0
   5: 4208A8C0:094B 0908A8C0:B1AF 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
  sl  local_address                         remote_address                        st tx_queue rx_queue tr
   0: 0000000000000000FFFF00004208A8C0:094B 0000000000000000FFFF00000708A8C0:C001 01 00000000:00000000 00:00000000
   1: B80D0120000000000000000001000000:094B B80D0120000000000000000002000000:C001 01 00000000:00000000 00:00000000
"""

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
}


def test_connected_addresses_are_read() -> None:
    """Connections of the host itself, to other ports, and closed ones are left out."""
    assert connected_addresses(SOCKETS, 2379) == ("192.168.8.1", "192.168.8.7", "2001:db8::2")
    assert connected_addresses("", 2379) == ()


@pytest.mark.parametrize(("version", "address"), [("3.4.23", "10.0.0.9"), ("3.5.33", "2001:db8::9")])
def test_addresses_rejected_for_the_old_ca_are_read(version: str, address: str) -> None:
    cut = LOGS["3.5.33"].replace("}", "")
    log = ["Started etcd.service", cut, *LOGS.values()]
    seen = rejected_addresses([LOGS[version]], datetime(2026, 11, 25, 15, tzinfo=UTC))
    assert seen == (address,)
    assert rejected_addresses(log, datetime(2026, 11, 25, 15, tzinfo=UTC)) == ("10.0.0.9", "2001:db8::9")
    assert rejected_addresses(log, datetime(2026, 11, 25, 15, 6, tzinfo=UTC)) == ()
