"""A proof of health as text and as data. Pure."""

from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.status_view import limits_json
from etcdup.cli.views.text import Paint
from etcdup.cli.views.verdict_view import cause_lines, causes_json
from etcdup.core.members.limits import Limit
from etcdup.core.verdict.verdict import Verdict
from etcdup.ops.world.health import Health, has_quorum

# With these, fewer members can fail than the health of each member shows.
_DEGRADED = ("members-differ-from-file", "data-of-other-host")


def render_health(
    results: Sequence[Health], paint: Paint, verdict: Verdict | None = None, width: int = 100
) -> str:
    """Return one line for each member in etcdctl's format, then the causes of the verdict, and the state."""
    lines = [_health_line(result, paint) for result in results]
    lines += cause_lines(verdict.causes, paint, width) if verdict else []
    said = health_of(results, verdict)
    colour = {"healthy": "green", "degraded": "yellow"}.get(said, "red")
    state = paint(f"bold {colour}", said)
    last = f"cluster is in an {state} state" if said == "unknown" else f"cluster is {state}"
    return "\n".join([*lines, last]) + "\n"


def health_of(results: Sequence[Health], verdict: Verdict | None = None) -> str:
    """Return `healthy`, `degraded`, `unavailable` or `unknown`.

    `degraded`: a quorum is proved, but some member is not healthy, or the member list differs from cluster.yaml or
    from the hosts. An alarm alone leaves the quorum as it is. `unknown`: members that etcdup could not ask can be a
    quorum.
    """
    differs = verdict and any(each.code in _DEGRADED for each in verdict.causes)
    if all(result.ok for result in results) and not differs:
        return "healthy"
    if _has_quorum(results, verdict):
        return "degraded"
    return "unavailable" if verdict is None or verdict.is_known else "unknown"


def _has_quorum(results: Sequence[Health], verdict: Verdict | None) -> bool:
    return has_quorum(tuple(results), verdict.quorum.voters if verdict else 0)


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
    results: tuple[Health, ...],
    verdict: Verdict | None = None,
    differing: tuple[str, ...] = (),
    limits: Sequence[Limit] = (),
) -> dict[str, Any]:
    return {
        "format": 1,
        "cluster": health_of(results, verdict),
        "has_quorum": _has_quorum(results, verdict),
        "differences": list(differing),
        "limits": limits_json(limits),
        "causes": causes_json(verdict.causes) if verdict else [],
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
