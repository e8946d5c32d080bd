"""A proof of health as text and as data. Pure."""

from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.status_view import limits_json
from etcdup.cli.views.text import Paint
from etcdup.core.members.limits import Limit
from etcdup.ops.world.health import Health, has_quorum


def render_health(
    results: Sequence[Health], paint: Paint, differences: Sequence[str] = (), limits: Sequence[str] = ()
) -> str:
    """Return one line for each member in etcdctl's format, then what differs or is refused, and the verdict."""
    lines = [_health_line(result, paint) for result in results]
    said = verdict(results, differences)
    colour = {"healthy": "green", "degraded": "yellow"}.get(said, "red")
    return "\n".join([*lines, *differences, *limits, f"cluster is {paint(f'bold {colour}', said)}"]) + "\n"


def verdict(results: Sequence[Health], differences: Sequence[str] = ()) -> str:
    """Return `healthy`, `degraded` or `unavailable`.

    `degraded`: a quorum is proved, but some member is not healthy, or the member list differs from cluster.yaml. An
    alarm alone leaves the quorum as it is.
    """
    if all(result.ok for result in results) and not differences:
        return "healthy"
    return "degraded" if has_quorum(tuple(results)) else "unavailable"


def _health_line(result: Health, paint: Paint) -> str:
    if result.ok:
        healthy = f"member {result.member_id:x} is {paint('green', 'healthy')}"
        return f"{healthy}: got healthy result from {result.url}"
    if result.member_id:
        unhealthy = f"member {result.member_id:x} is {paint('red', 'unhealthy')}"
        return f"{unhealthy}: got unhealthy result from {result.url}: {result.why}"
    failed = paint("red", "failed to check the health")
    return f"{failed} of member {result.name} on {result.url}: {result.why}"


def health_json(
    results: tuple[Health, ...], differing: tuple[str, ...], limits: Sequence[Limit] = ()
) -> dict[str, Any]:
    cluster = verdict(results, differing)
    return {
        "format": 1,
        "cluster": cluster,
        "has_quorum": has_quorum(results),
        "differences": list(differing),
        "limits": limits_json(limits),
        "members": [member_json(result) for result in results],
    }


def member_json(result: Health) -> dict[str, Any]:
    return {
        "name": result.name,
        "url": result.url,
        "member_id": f"{result.member_id:x}" if result.member_id else None,
        "healthy": result.ok,
        "votes": result.votes,
        "why": result.why or None,
        "took_ms": round(result.took_s * 1000, 1),
    }
