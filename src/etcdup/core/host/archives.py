"""Archived directories of a host: old data, cold copies and old settings. Only `archive delete` deletes them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from etcdup.core.observed.host import HostSeen

ARCHIVES_TIMEOUT_S = 60.0
# The ctime of a directory is the time at which it was renamed or made.
ARCHIVES_SCRIPT = r"""
for each in "$@"; do
  size=$(du -sk -- "$each") && at=$(stat -c %Z -- "$each") || continue
  printf '%s %s %s\n' "${size%%[!0-9]*}" "$at" "$each"
done
"""
_LINE = re.compile(r"([0-9]{1,15}) ([0-9]{1,11}) (/.+)", re.ASCII)


@dataclass(frozen=True)
class Archive:
    """An archived directory: its size in bytes, and when it was archived."""

    host: str
    path: str
    size: int
    at: datetime


def archives_argv(seen: HostSeen) -> tuple[str, ...]:
    """Return a read-only command that prints the size and the age of the archives of a host."""
    return ("sh", "-c", ARCHIVES_SCRIPT, "archives", *seen.archives)


def parse_archives(stdout: str, seen: HostSeen) -> Iterator[Archive]:
    """Parse the output of `archives_argv`. Yield only archives that were observed."""
    for line in stdout.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[3] in seen.archives:
            at = datetime.fromtimestamp(int(match[2]), UTC)
            yield Archive(seen.host, match[3], int(match[1]) * 1024, at)
