"""The members that the cluster has against the members that cluster.yaml names."""

from etcdup.core.observed import ListedMember, MemberSeen, Observed
from etcdup.core.spec import Spec
from etcdup.core.steps import Refused


def against_membership(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Why upkeep may not go on: members and hosts differ, members disagree, or the minor would change."""
    answering = observed.answering()
    clusters = {seen.cluster_id for seen in answering.values()}
    if len(clusters) > 1:
        parts = ", ".join(f"{name} is in {seen.cluster_id:x}" for name, seen in sorted(answering.items()))
        return (
            Refused(
                f"the members belong to different clusters: {parts}",
                hint="stop here: find out which one your clients' data is in before anything is changed",
                rules=(4, 65),
            ),
        )
    return (*_against_members(spec, answering), *_against_version(spec, answering))


def _against_members(spec: Spec, answering: dict[str, MemberSeen]) -> tuple[Refused, ...]:
    if not answering:
        return ()
    newest = max(answering.values(), key=lambda seen: (seen.raft_term, seen.applied_index))
    listed = {_shown(member): member for member in newest.members}
    wanted = {f"{host.name}={spec.peer_url(host)}" for host in spec.hosts}
    extra, lacking = sorted(set(listed) - wanted), sorted(wanted - set(listed))
    if not extra and not lacking:
        return ()
    parts = []
    if lacking:
        parts.append("not in the cluster: " + ", ".join(lacking))
    if extra:
        parts.append("not in cluster.yaml: " + ", ".join(extra))
    return (
        Refused(
            "cluster.yaml and the cluster's member list differ; " + "; ".join(parts),
            hint="this etcdup does not change the members of a running cluster: bring cluster.yaml back to them",
            rules=(25,),
        ),
    )


def _shown(member: ListedMember) -> str:
    return f"{member.name}={','.join(member.peer_urls)}"


def _against_version(spec: Spec, answering: dict[str, MemberSeen]) -> tuple[Refused, ...]:
    other = sorted(
        {str(seen.version) for seen in answering.values() if seen.version.series != spec.version.series}
    )
    if not other:
        return ()
    return (
        Refused(
            f"the cluster runs {', '.join(other)}; going to {spec.version} is a change of minor version",
            hint="this etcdup changes patch versions only: write a version of the running minor in cluster.yaml",
            rules=(42, 43),
        ),
    )
