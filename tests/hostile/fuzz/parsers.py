"""Each parser of data that a host, a member, a certificate or a store sends, as a function of bytes.

A function here catches the errors that the callers of its parser catch. Any other error is a bug. `scripts/fuzz`
searches for inputs that cause one, and `test_fuzz.py` reads the inputs in `corpus` again.
"""

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError

from etcdup.core.adopt.config_file import config_settings
from etcdup.core.adopt.model import Unreadable
from etcdup.core.adopt.parse_files import parse_files
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.refusals import refuse_host
from etcdup.core.adopt.switch_state import UnreadableSwitch, parse_state
from etcdup.core.audit.inspection import parse_inspection, parse_leaders
from etcdup.core.backups.backups import InvalidManifest, proved_backup, read_manifest
from etcdup.core.backups.change_log import changes, read_times
from etcdup.core.backups.old_keys import find_rows, read_rows
from etcdup.core.backups.rewind import content_at
from etcdup.core.backups.signed_text import split_signature
from etcdup.core.etcd.alarms import read_alarms
from etcdup.core.etcd.bbolt import cluster_version, newest_revision, open_bolt
from etcdup.core.etcd.leases import read_leases
from etcdup.core.etcd.replay import parse_log_part
from etcdup.core.etcd.wal import parse_log_end
from etcdup.core.host.archives import parse_archives
from etcdup.core.host.packages import parse_candidate
from etcdup.core.maintain.space import measure_space
from etcdup.core.observed.activity import parse_activity
from etcdup.core.observed.connections import parse_connections
from etcdup.core.observed.journal_lines import parse_file, parse_journal
from etcdup.core.observed.parse_marker import UnreadableMarker, parse_marker
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.peer_ports import parse_peer_ports
from etcdup.core.observed.probe import probe_argv
from etcdup.core.observed.unit_log import lines_of_starts
from etcdup.core.recovery.disk_space import parse_disk_space
from etcdup.core.restore.snapshot_origin import read_members
from etcdup.core.spec.layout import layout_of
from etcdup.errors import PkiError
from etcdup.ops.pki.archive import BadArchive, read_pki_archive
from etcdup.ops.pki.crl import parse_crl
from etcdup.ops.pki.x509 import cert_facts, parse_certs, parse_csr
from etcdup.remote.etcd.answers import listed_members, member_seen
from etcdup.remote.etcd.errors import EtcdInternalError
from etcdup.remote.etcd.grpc_library import pb
from etcdup.remote.lock_scripts import parse_not_locked
from etcdup.testing.network import FakeNetwork
from etcdup.testing.probe import run_probe
from tests.support.fake_world import spec_of

LAYOUT = layout_of(spec_of(1), spec_of(1).hosts[0])
PROBE = run_probe(FakeNetwork().add("infra1"), probe_argv(LAYOUT, (), ())[4:])
SEEN = parse_probe("infra1", PROBE, LAYOUT, 1000.0, 1001.0)
BACKUP = "prod-20261122T120000Z"
LOG = "0000000000000000-0000000000000000.wal"
FILE = Path("infra1.pem")
PORTS = {("10.0.0.2", 2380): "infra2"}


def _text(content: bytes) -> str:
    """Return the output of a command, as a host of etcdup decodes it."""
    return content.decode(errors="replace")


def _probe(content: bytes) -> None:
    with suppress(ValueError):
        parse_probe("infra1", _text(content), LAYOUT, 1000.0, 1001.0)


def _marker(content: bytes) -> None:
    with suppress(UnreadableMarker):
        parse_marker(_text(content))


def _inspection(content: bytes) -> None:
    with suppress(ValueError, KeyError, IndexError, OverflowError):
        parse_inspection("infra1", _text(content))


def _small(content: bytes) -> None:
    """Read the output of commands that print a few lines."""
    text = _text(content)
    parse_connections(text)
    lines_of_starts(text, SEEN.unit, 3)
    parse_not_locked(75, text)
    tuple(parse_archives(text, SEEN))
    parse_peer_ports("infra1", text, PORTS)
    with suppress(UnreadableSwitch):
        parse_state(text)
    with suppress(ValueError):
        parse_disk_space(text)
    for manager in ("apt", "zypper", "dnf"):
        parse_candidate(manager, text)


def _metrics(content: bytes) -> None:
    parse_activity(_text(content))
    parse_leaders("infra1", _text(content), 1000.0)


def _journal(content: bytes) -> None:
    parse_journal("infra1", _text(content))
    parse_file("infra1", _text(content))


def _processes(content: bytes) -> None:
    with suppress(Unreadable):
        refuse_host(parse_processes("infra1", _text(content)))


def _files(content: bytes) -> None:
    with suppress(Unreadable):
        parse_files(_text(content))


def _config(content: bytes) -> None:
    with suppress(Unreadable):
        config_settings(_text(content))


def _manifest(content: bytes) -> None:
    proved_backup(split_signature(content)[0])
    with suppress(InvalidManifest):
        read_manifest(content, BACKUP)


def _pki_archive(content: bytes) -> None:
    with suppress(BadArchive):
        read_pki_archive(content)


def _database(content: bytes) -> None:
    """Read a database as the verbs of backups, `restore` and `maintain space` do."""
    with suppress(ValueError, struct.error, IndexError):
        bolt = open_bolt(lambda start, stop: memoryview(content[start:stop]))
        newest = newest_revision(bolt)
        cluster_version(bolt)
        read_members(value for _, value in bolt.items(b"members"))
        read_leases(bolt)
        read_alarms(bolt)
        read_times(bolt)
        tuple(changes(bolt))
        tuple(read_rows(bolt, find_rows(bolt, newest, b"") or ()))
        measure_space(bolt, len(content))
        for _, _, items in content_at(bolt, newest):
            tuple(items)


def _log_file(content: bytes) -> None:
    with suppress(ValueError):
        parse_log_end(content)
    with suppress(ValueError):
        parse_log_part(LOG, content)


def _certs(content: bytes) -> None:
    with suppress(PkiError):
        certs = parse_certs(FILE, content)
        for cert in certs[:16]:
            cert_facts(str(FILE), content, cert, certs)
    with suppress(PkiError):
        parse_crl(FILE, content)
    with suppress(PkiError):
        parse_csr(FILE, content)


def _status(content: bytes) -> None:
    # The gRPC library refuses what is not a message.
    with suppress(DecodeError, EtcdInternalError):
        member_seen("infra1", pb.StatusResponse.FromString(content), ())


def _members(content: bytes) -> None:
    with suppress(DecodeError, EtcdInternalError):
        listed_members("infra1", pb.MemberListResponse.FromString(content))


PARSERS: dict[str, Callable[[bytes], None]] = {
    "certs": _certs,
    "config": _config,
    "database": _database,
    "files": _files,
    "inspection": _inspection,
    "journal": _journal,
    "log_file": _log_file,
    "manifest": _manifest,
    "marker": _marker,
    "members": _members,
    "metrics": _metrics,
    "pki_archive": _pki_archive,
    "probe": _probe,
    "processes": _processes,
    "small": _small,
    "status": _status,
}
