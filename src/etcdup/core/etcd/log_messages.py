"""Explain the log of a member that does not start."""

import re
from collections.abc import Sequence

from etcdup.core.etcd.known_messages import DIFFERS, KNOWN_MESSAGES, OTHER_HASH, SERVES, Meaning
from etcdup.core.spec.json_object import json_object

# Warnings that every etcd writes when it starts. They are no reason for a failure.
ROUTINE_WARNINGS = (
    "simple token is not cryptographically signed",
    "Running http and grpc server on single port",
)
# What a process writes because it ends: the reason is in another line.
_ENDING = ("use of closed network connection",)

_SYSTEMD = re.compile(r"etcd\.service: |(Starting|Started|Stopping|Stopped|Failed to start) etcd\.service")
_STACK = re.compile(r"\s|goroutine \d+ \[|created by |[\w./]+[\w.*()/]*\(.*\)$")
_LINE_LIMIT = 500


def explain_starts(starts: Sequence[Sequence[str]], host: str = "HOST") -> tuple[list[str], str]:
    """Return why the member on `host` does not stay up, as lines to show, and a hint.

    Both are empty if the log has no reason. `starts` has the lines of each start, the newest last. A start that has
    just begun has no reason yet, so the newest start that has one counts.
    """
    for lines in reversed(starts):
        if known := explain_log(lines):
            return [f"{known[0].problem}: {known[1]}"], _of_host(known[0].hint, host)
        if failures := telling_lines(lines, levels=_FAILURES):
            return failures, ""
    return next(filter(None, map(telling_lines, reversed(starts))), []), ""


def _of_host(hint: str, host: str) -> str:
    return hint.replace(" HOST`", f" {host}`")


def damage_of(starts: Sequence[Sequence[str]], peers: int) -> str:
    """Return how the data of a member is damaged, from the newest start with a known reason; empty if it is not.

    The data differs from that of at least so many `peers`: a member also ends if only one peer has other data, and that
    peer may be the wrong one. Damage before the member served again is over: its data was replaced.
    """
    for lines in reversed(starts):
        last = _lines_after_service(lines)
        if known := explain_log(last):
            is_alone = DIFFERS in known[1] and len(_differing_peers(last)) < peers
            return known[0].problem if known[0].is_damage and not is_alone else ""
        if len(last) < len(lines):
            return ""
    return ""


def _lines_after_service(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines after the last one that reports that the member serves clients; all lines if none does."""
    served = [at for at, line in enumerate(lines, start=1) if SERVES in line]
    return lines[served[-1] :] if served else lines


def _differing_peers(lines: Sequence[str]) -> set[str]:
    """Return the peers, by their URLs, whose data the member found to be other data."""
    entries = (json_object(line) for line in lines if OTHER_HASH in line)
    return {str(each.get("remote-peer-endpoints")) for each in entries if each.get("msg") == OTHER_HASH}


def explain_log(lines: Sequence[str]) -> tuple[Meaning, str] | None:
    """Return the meaning of the newest line that is known, and that line. Return None if no line is known."""
    for line in reversed(lines):
        for text, meaning in KNOWN_MESSAGES:
            if all(part in line.lower() for part in text.lower().split(" ... ")):
                return meaning, _plain_message(line)
    return None


# The levels of etcd's log. A line without a level is of systemd, of a script, or of a panic.
_FAILURES = ("error", "dpanic", "panic", "fatal", "")
_WARNINGS = ("warn", *_FAILURES)


def telling_lines(lines: Sequence[str], count: int = 3, levels: Sequence[str] = _WARNINGS) -> list[str]:
    """Return the last lines of these levels that are neither routine reports nor stack traces, each once."""
    kept = [_plain_message(line) for line in lines if _level(line) in levels and not _is_uninformative(line)]
    return list(dict.fromkeys(reversed(kept)))[:count][::-1]


def _is_uninformative(line: str) -> bool:
    """Return True for warnings of every start, systemd's messages of starts and stops, and the stack of a panic."""
    if json_object(line):
        return any(text in line for text in (*ROUTINE_WARNINGS, *_ENDING))
    return not line.strip() or _SYSTEMD.match(line) is not None or _STACK.match(line) is not None


def _level(line: str) -> str:
    return str(json_object(line).get("level", ""))


def _plain_message(line: str) -> str:
    """Return the message and the error of a log line, without the JSON around them."""
    entry = json_object(line)
    parts = (str(entry[key]) for key in ("msg", "error") if entry.get(key))
    return (" ".join(parts) if entry else line.strip())[:_LINE_LIMIT]
