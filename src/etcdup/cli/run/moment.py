"""Revisions and times that an operator passes as options."""

from datetime import UTC, datetime

from etcdup.core.spec.units import show_time
from etcdup.errors import UsageError

Moment = int | datetime

_LONGEST = 18  # digits; a revision of etcd has at most 19


def parse_moment(option: str, text: str | None) -> Moment | None:
    """Return a revision or a time. Raises UsageError."""
    if text is None:
        return None
    return int(text) if text.isdecimal() and len(text) <= _LONGEST else parse_time(option, text)


def show_moment(moment: Moment) -> str:
    """Return a revision or a time, as text."""
    return f"revision {moment}" if isinstance(moment, int) else show_time(moment)


def parse_time(option: str, text: str) -> datetime:
    """Return a time. Without a zone it is in UTC. Raises UsageError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option}: `{text}` is not a time", hint="pass a time such as 2026-11-22T12:00:00Z"
        ) from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
