"""The cause for hosts that cannot be reached. What helps depends on the quorum: unreachable is not down (rule 62)."""

from collections.abc import Iterator

from etcdup.core.members.bootstrap import cluster_phase
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.quorum import quorum_of
from etcdup.core.members.unreachable_hosts import connect_hint, unreachable_in_file
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.cause import Cause, named
from etcdup.core.verdict.quorum_state import QuorumState


def unreachable_causes(spec: Spec, observed: Observed, quorum: QuorumState) -> list[Cause]:
    """Return one cause for all hosts of cluster.yaml that cannot be reached."""
    gone = unreachable_in_file(observed)
    if not gone:
        return []
    return [
        Cause(
            _what(gone),
            _hint(spec, observed, gone, quorum),
            tuple(gone),
            tuple(_effects(observed, gone)),
            rules=(62,),
            code="host-unreachable",
        )
    ]


def _what(gone: dict[str, Unreachable]) -> str:
    whys = {each.why for each in gone.values()}
    return f"{named(gone)} cannot be reached" + (f": {whys.pop()}" if len(whys) == 1 else "")


def _effects(observed: Observed, gone: dict[str, Unreachable]) -> Iterator[str]:
    if len({each.why for each in gone.values()}) > 1:
        yield from (f"{name}: {each.why}" for name, each in gone.items())
    them = "these hosts" if len(gone) > 1 else "this host"
    yield f"etcdup cannot observe or change {them}. This does not mean that a member is down"
    yield from (f"the member on {name} responds" for name in gone if name in observed.answering())


def _hint(spec: Spec, observed: Observed, gone: dict[str, Unreachable], quorum: QuorumState) -> str:
    if_lost = _if_lost(spec, observed, gone, quorum)
    return ". ".join(filter(None, (connect_hint(spec, observed), if_lost)))


def _if_lost(spec: Spec, observed: Observed, gone: dict[str, Unreachable], quorum: QuorumState) -> str:
    """Return what helps if the hosts stay lost; nothing if the cluster is not formed, or if nothing else is known."""
    silent = [name for name in gone if name not in observed.answering()]
    if not silent or cluster_phase(spec, observed, "").name != "formed":
        return ""
    if not quorum.is_observed:
        return _if_no_quorum(spec, observed, silent, quorum)
    listed = [name for name in silent if entry_of(spec, spec.host(name), member_list(observed))]
    if not listed:
        return f"Or take {named(silent)} out of cluster.yaml"
    replace = " and ".join(f"`etcdup member replace {name} --address ADDRESS`" for name in listed)
    return f"If {_are(listed)} permanently lost, run {replace}, with the address of a new machine"


def _are(names: list[str]) -> str:
    return f"{named(names)} {'are' if len(names) > 1 else 'is'}"


def _if_no_quorum(spec: Spec, observed: Observed, silent: list[str], quorum: QuorumState) -> str:
    """Name `recover` only if the reachable hosts cannot be a quorum: otherwise their members can start again.

    It loses writes that only the lost hosts have, so it is the last way.
    """
    data = sum(seen.has_member and seen.is_marked(spec.name) for seen in observed.reachable().values())
    needed = quorum_of(quorum.voters)
    missing = needed - data
    if not data or missing <= 0:
        return ""
    fenced = " ".join(f"--fenced {name}" for name in silent)
    they, count = ("they", "all of them") if len(silent) > 1 else ("it", "it")
    are = "are" if len(silent) > 1 else "is"
    return (
        f"Bring {_some_of(missing, silent)} back first: with {needed} of {quorum.voters} voters, the cluster "
        f"has a quorum, and no data is lost. Only if {count} {are} permanently lost, make sure that {they} cannot "
        f"start again, and run `etcdup recover {fenced}`. This loses writes that only {named(silent)} had"
    )


def _some_of(count: int, names: list[str]) -> str:
    """Return `one of infra2, infra3`; the names alone if all of them are needed."""
    if count >= len(names):
        return named(names)
    return f"{'one' if count == 1 else count} of {named(names)}"
