"""Convert the answers of a member. It may answer anything: an answer that is not valid is an error of that member.

The names and URLs of a member list end in etcd.conf and in plans, and numbers decide which list is the newest.
"""

import re
from typing import TYPE_CHECKING

from etcdup.core.etcd.alarms import alarm_text
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.spec.plain_value import is_member_name, is_member_url
from etcdup.core.spec.units import WrongValue
from etcdup.core.spec.version import Version, parse_version
from etcdup.core.spec.visible import one_line
from etcdup.remote.etcd.errors import EtcdInternalError

if TYPE_CHECKING:
    from etcdup.remote.etcd.grpc_library import pb

# An alarm in the errors of a Status. It may have no member (rule 82). 3.7 writes one or two spaces.
_ALARM = re.compile(r"(?:memberID:(\d{1,20})\s+)?alarm:([A-Za-z0-9_]{1,64})")
_MINOR = re.compile(r"\d{1,6}\.\d{1,6}(?:\.\d{1,6})?", re.ASCII)
# A cluster has up to seven voters. Each has an address or two.
MAX_MEMBERS = 64
MAX_URLS = 16
MAX_ERRORS = 16


def member_seen(name: str, response: "pb.StatusResponse", listed: tuple[ListedMember, ...]) -> MemberSeen:
    """Convert a Status. It contains the alarms: the call Alarm needs a raft entry and a quorum.

    Raise EtcdInternalError if the version is not a version of etcd.
    """
    errors = response.errors[:MAX_ERRORS]
    alarms = [match for error in errors if (match := _ALARM.match(error))]
    return MemberSeen(
        member_id=response.header.member_id,
        cluster_id=response.header.cluster_id,
        version=_version(name, response.version),
        leader_id=response.leader,
        raft_term=response.raftTerm,
        raft_index=response.raftIndex,
        applied_index=response.raftAppliedIndex,
        db_size=max(response.dbSize, 0),
        db_in_use=max(response.dbSizeInUse, 0),
        is_learner=response.isLearner,
        members=listed,
        alarms=tuple(alarm_text(match[2], int(match[1] or 0)) for match in alarms),
        errors=tuple(one_line(error) for error in errors if not _ALARM.match(error)),
        storage_version=_minor(response.storageVersion),
        downgrade_to=_minor(response.downgradeInfo.targetVersion) if response.downgradeInfo.enabled else "",
        db_quota=max(response.dbSizeQuota, 0),
        revision=max(response.header.revision, 0),
    )


def listed_members(name: str, response: "pb.MemberListResponse") -> tuple[ListedMember, ...]:
    """Convert a member list, by ID. Raise EtcdInternalError if a name or a URL is not valid."""
    if len(response.members) > MAX_MEMBERS:
        raise EtcdInternalError(name, f"its member list has {len(response.members)} members")
    return tuple(listed_member(name, each) for each in sorted(response.members, key=lambda each: each.ID))


def listed_member(name: str, member: "pb.Member") -> ListedMember:
    """Convert an entry of a member list. Raise EtcdInternalError if its name or a URL is not valid."""
    urls = (*member.peerURLs, *member.clientURLs)
    if member.name and not is_member_name(member.name):
        raise EtcdInternalError(
            name, f"its member list has a name that is not valid: {one_line(member.name)}"
        )
    if len(urls) > MAX_URLS or not all(map(is_member_url, urls)):
        shown = one_line(" ".join(urls[:MAX_URLS]))
        raise EtcdInternalError(name, f"its member list has URLs that are not valid: {shown}")
    return ListedMember(
        member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), member.isLearner
    )


def _version(name: str, text: str) -> Version:
    try:
        return parse_version(text)
    except WrongValue:
        raise EtcdInternalError(
            name, f"it reports a version that is not supported: {one_line(text)}"
        ) from None


def _minor(text: str) -> str:
    return text if _MINOR.fullmatch(text) else ""
