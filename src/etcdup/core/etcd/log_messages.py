"""What etcd's last words mean: its log lines -> the problem and what to do, in an operator's words."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple


class Meaning(NamedTuple):
    """What a log line tells."""

    problem: str
    hint: str


# The words, as etcd 3.4 to 3.7, Go's TLS or systemd write them; the first that is found in the newest line wins.
KNOWN_MESSAGES: tuple[tuple[str, Meaning], ...] = (
    (
        "bind: address already in use",
        Meaning(
            "a port it listens on is taken", "stop what listens there, or set another port in cluster.yaml"
        ),
    ),
    (
        "bind: cannot assign requested address",
        Meaning(
            "the address it shall listen on is not one of this host's",
            "set `listen_address` to an address that `ip address` shows on the host",
        ),
    ),
    (
        "certificate has expired",
        Meaning("a certificate has expired, or a clock is wrong", "compare `date` on the hosts"),
    ),
    (
        "certificate is valid for",
        Meaning(
            "a certificate lacks the address that a peer connects from",
            "does the host reach its peers from another address than the one in cluster.yaml? "
            "`ip route get PEER` shows it after `src`",
        ),
    ),
    (
        "does not match any of DNSNames",
        Meaning(
            "it turns away a peer that comes from an address that the peer's certificate lacks",
            "on that peer's host, `ip route get ADDRESS` shows after `src` where it comes from: that must be the "
            "address in cluster.yaml",
        ),
    ),
    (
        "certificate signed by unknown authority",
        Meaning(
            "a certificate was signed by another CA than the one trusted here",
            "`etcdup plan` shows which file",
        ),
    ),
    (
        "private key does not match public key",
        Meaning("a key and its certificate do not belong together", "`etcdup apply` writes the pair again"),
    ),
    ("no space left on device", Meaning("its disk is full", "free some space below the data directory")),
    (
        "has already been bootstrapped",
        Meaning(
            "its data is gone, but the cluster still counts it as a member",
            "if a disk is not mounted, mount it; else the member must be replaced, never started empty",
        ),
    ),
    (
        "holds no member: is its disk mounted",
        Meaning("its data directory holds no member", "is its disk mounted?"),
    ),
    (
        "the cluster of its data was superseded",
        Meaning(
            "another cluster took the place of the one that its data is of",
            "`etcdup apply` moves that data aside and lets the host join, once it also reaches a host of the other "
            "cluster: that one's mark is what it goes by",
        ),
    ),
    (
        "crc mismatch",
        Meaning("its write-ahead log is damaged", "replace the member; the others have all of its data"),
    ),
    (
        "tocommit(",
        Meaning(
            "it lost data that it had acknowledged",
            "replace the member; never start it empty under its old ID",
        ),
    ),
    (
        "the data-dir used by this member must be removed",
        Meaning(
            "it was removed from the cluster by somebody",
            "look at the member list with `etcdup ctl -- member list`",
        ),
    ),
    (
        "invalid downgrade",
        Meaning("this version is older than the cluster's", "set `version` to the cluster's own minor"),
    ),
    (
        '\\" is not supported',  # 3.6, of data that 3.7 wrote
        Meaning("this version is older than its data", "set `version` to the cluster's own minor"),
    ),
    (
        "detected disallowed v2 WAL",
        Meaning(
            "its log holds requests of etcd's v2 API, which this version no longer reads",
            "set `version` to the newest 3.5, apply, and go on from there: the log is then seen to first",
        ),
    ),
    (
        "flag provided but not defined",
        Meaning("this version does not know one of its settings", "look at `etcd.extra` in cluster.yaml"),
    ),
    (
        "failed to verify flags",
        Meaning("it does not take one of its settings", "correct that setting in cluster.yaml"),
    ),
    (
        "unrecognized level",
        Meaning("it does not take one of its settings", "correct `log-level` below `etcd.extra`"),
    ),
    (
        "couldn't find local name",
        Meaning(
            "its own name is not in the member list that it was given",
            "`etcdup plan` shows etcd.conf's difference",
        ),
    ),
    (
        "permission denied",
        Meaning("it may not read or write one of its files", "`etcdup apply` puts owners and modes right"),
    ),
    (
        "Failed to set up mount namespacing",
        Meaning("a folder that the unit needs is missing", "is a disk not mounted?"),
    ),
)

_SYSTEMD = re.compile(r"etcd\.service: |(Starting|Started|Stopping|Stopped|Failed to start) etcd\.service")
_STACK = re.compile(r"\s|goroutine \d+ \[|created by |[\w./]+[\w.*()/]*\(.*\)$")


def explain_log(lines: Sequence[str]) -> tuple[Meaning, str] | None:
    """What the newest line that says something known means, and that line; None where no line does."""
    for line in reversed(lines):
        for words, meaning in KNOWN_MESSAGES:
            if words.lower() in line.lower():
                return meaning, _plain_message(line)
    return None


def telling_lines(lines: Sequence[str], count: int = 3) -> list[str]:
    """The last lines that say more than that all goes well, or that it ended: each once."""
    kept = [_plain_message(line) for line in lines if not _is_uninformative(line)]
    return list(dict.fromkeys(reversed(kept)))[:count][::-1]


def _is_uninformative(line: str) -> bool:
    """etcd's report of what goes well, systemd's of starts and stops, the stack below a panic."""
    entry = _entry(line)
    if entry:
        return entry.get("level") in ("info", "debug")
    return not line.strip() or _SYSTEMD.match(line) is not None or _STACK.match(line) is not None


def _plain_message(line: str) -> str:
    """Without etcd's JSON around it."""
    entry = _entry(line)
    said = (str(entry[key]) for key in ("msg", "error") if entry.get(key))
    return " ".join(said) if entry else line.strip()


def _entry(line: str) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
