"""The state of a cluster that changes from http to https, and its next step, as text and as JSON."""

from collections.abc import Iterable, Sequence
from typing import Any

from etcdup.cli.views.adopt_view import refused_json
from etcdup.cli.views.text import table_lines, wrap_text
from etcdup.core.adopt.member import Member
from etcdup.core.adopt.to_tls import ToTls, client_url
from etcdup.core.plan.plan import Refused

_HEADING = ("member", "accepts peers with", "peers connect with", "accepts clients with")
_NEXT = {
    "restart": "Next: {first} restarts, and then accepts https too. Members that wait for this: {left}.",
    "add": "Next: the member list gets the https peer URLs of {left}. No member restarts.",
    "remove": "Next: the member list loses the http peer URLs of {left}. No member restarts.",
}
_HOW = (
    "No host was changed. The commands are on stdout: write them to a file, read it, and run it with sh on this "
    "machine. Then run the same etcdup command again."
)
_DONE = (
    "Members use https between each other, and accept https from clients: nothing to do. Run `etcdup adopt {hosts}`. "
    "http for clients ends at the take-over: before it, change all clients to https, each with a certificate."
)


def render_state(members: Sequence[Member], found: ToTls, width: int) -> str:
    """Return what each member accepts, and the next step."""
    rows = [_HEADING, *map(_row, members)]
    left = [each.member.name for each in found.left]
    if found.step == "done":
        texts = [_DONE.format(hosts=" ".join(each.inspected.host for each in members))]
    else:
        texts = [_NEXT[found.step].format(first=left[0], left=", ".join(left)), _HOW]
    paragraphs = ["\n".join(wrap_text(text, width)) for text in texts]
    return "\n\n".join(["\n".join(table_lines(rows)), *paragraphs]) + "\n"


def _row(member: Member) -> tuple[str, str, str, str]:
    clients = [scheme for scheme in ("http", "https") if client_url(member, scheme)]
    return (
        member.name,
        _schemes(url.text for url in member.urls("listen-peer-urls")),
        _schemes(member.listed.peer_urls),
        " and ".join(clients),
    )


def _schemes(urls: Iterable[str]) -> str:
    return " and ".join(sorted({url.partition(":")[0] for url in urls}))


def to_tls_json(
    members: Sequence[Member], found: ToTls | None, script: str, refused: Sequence[Refused]
) -> dict[str, Any]:
    """Return the document of `adopt --to-tls --json`. `step` is null if there are reasons against each step."""
    return {
        "format": 1,
        "cluster_id": members[0].inspected.answer.cluster_id if members else None,
        "members": [_member_json(each) for each in members],
        "step": found.step if found else None,
        "left": [each.member.name for each in found.left] if found else [],
        "script": script,
        "refused": refused_json(refused),
    }


def _member_json(member: Member) -> dict[str, Any]:
    return {
        "host": member.inspected.host,
        "member": member.name,
        "member_id": f"{member.listed.member_id:x}",
        "peer_urls": list(member.listed.peer_urls),
        "client_urls": list(member.listed.client_urls),
        "listen_peer_urls": [url.text for url in member.urls("listen-peer-urls")],
        "listen_client_urls": [url.text for url in member.urls("listen-client-urls")],
    }
