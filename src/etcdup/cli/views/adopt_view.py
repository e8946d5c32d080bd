"""The inspection of an existing cluster: the members, and the four lists of its draft, as text and as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from etcdup.cli.views.text import Paint, table_lines, wrap_text
from etcdup.core.adopt.draft import Draft
from etcdup.core.adopt.member import Member
from etcdup.core.plan.plan import Refused

_LISTS = (
    ("Stays as it is", "stays"),
    ("Changes at the take-over", "changes"),
    ("Is lost at the take-over", "lost"),
    ("You must decide", "decide"),
)


def render_members(members: Sequence[Member], paint: Paint) -> str:
    """Return one line for each member."""
    answer = members[0].inspected.answer
    heading = f"cluster {answer.cluster_id}: {len(members)} of {len(answer.members)} members, etcd {members[0].version}"
    rows = [
        (
            each.name,
            each.peer.host,
            f"pid {each.process.pid} since {_time(each)}",
            each.process.user,
            _place(each),
        )
        for each in members
    ]
    return "\n".join([paint("bold", heading), *table_lines(rows)]) + "\n"


def render_lists(draft: Draft, paint: Paint, width: int) -> str:
    """Return the four lists. An empty list is left out."""
    lines: list[str] = []
    for title, name in _LISTS:
        entries = getattr(draft, name)
        if entries:
            lines += [
                paint("bold", f"{title}:"),
                *(line for each in entries for line in _entry(each, width)),
                "",
            ]
    return "\n".join(lines)


def render_refused(
    refused: Sequence[Refused], paint: Paint, width: int, heading: str = "There is no draft:"
) -> str:
    """Return each reason with its hint below it."""
    lines = [paint("bold", heading)]
    for each in refused:
        lines += wrap_text(f"✗ {each.message}", width, "  ", "    ")
        lines += wrap_text(f"hint: {each.hint}", width, "    ", "      ") if each.hint else []
    return "\n".join(lines) + "\n"


def adopt_json(members: Sequence[Member], draft: Draft | None, refused: Sequence[Refused]) -> dict[str, Any]:
    """Return the document of `adopt --dry-run --json`. `draft` is null if there are reasons against it."""
    lists = {name: list(getattr(draft, name)) if draft else [] for _, name in _LISTS}
    return {
        "format": 1,
        "cluster_id": members[0].inspected.answer.cluster_id if members else None,
        "members": [_member_json(each) for each in members],
        "draft": draft.text if draft else None,
        **lists,
        "refused": refused_json(refused),
    }


def _entry(text: str, width: int) -> list[str]:
    return wrap_text(f"- {text}", width, "  ", "    ")


def refused_json(refused: Sequence[Refused]) -> list[dict[str, Any]]:
    """Return each reason with its hint and its host."""
    return [{"message": each.message, "hint": each.hint, "host": each.host} for each in refused]


def _member_json(member: Member) -> dict[str, Any]:
    process = member.process
    settings = sorted(member.settings.items())
    return {
        "host": member.inspected.host,
        "member": member.name,
        "member_id": f"{member.listed.member_id:x}",
        "version": str(member.version),
        "peer_urls": list(member.listed.peer_urls),
        "client_urls": list(member.listed.client_urls),
        "pid": process.pid,
        "started_at": _time(member),
        "user": process.user,
        "program": process.exe,
        "started_by": _place(member),
        "settings": [{"flag": flag, "value": each.value, "origin": each.origin} for flag, each in settings],
    }


def _time(member: Member) -> str:
    return f"{datetime.fromtimestamp(member.process.started_at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _place(member: Member) -> str:
    """Return what started the process: the kubelet, a container, a unit, or nothing that etcdup recognises."""
    process = member.process
    if process.is_pod:
        return "kubelet"
    if process.container:
        return f"container {process.container_name}"
    return process.unit.name if process.unit else "no unit"
