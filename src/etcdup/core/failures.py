"""What etcd's last words mean: its log lines -> the problem and what to do, in an operator's words."""

import json
from collections.abc import Sequence
from typing import NamedTuple


class Meaning(NamedTuple):
    """What a log line tells."""

    problem: str
    hint: str


# The words, as etcd 3.4 to 3.7, Go's TLS or systemd write them; the first that is found in the newest line wins.
WORDS: tuple[tuple[str, Meaning], ...] = (
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
        "flag provided but not defined",
        Meaning("this version does not know one of its settings", "look at `etcd.extra` in cluster.yaml"),
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


def explain(lines: Sequence[str]) -> Meaning | None:
    """What the newest line that says something known means; None where no line does."""
    for line in reversed(lines):
        for words, meaning in WORDS:
            if words.lower() in line.lower():
                return meaning
    return None


def telling(lines: Sequence[str], count: int = 3) -> list[str]:
    """The last lines that say more than that all goes well, without etcd's JSON around them."""
    kept = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            kept.append(line)
            continue
        if isinstance(entry, dict) and entry.get("level") not in ("info", "debug"):
            kept.append(" ".join(str(entry[key]) for key in ("msg", "error") if entry.get(key)))
    return kept[-count:]
