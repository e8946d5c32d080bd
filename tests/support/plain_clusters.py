"""Inspected clusters with plain http, and what the commands of `adopt --to-tls` do to them."""

from collections.abc import Sequence
from dataclasses import replace

from etcdup.core.adopt.member import member_of
from etcdup.core.adopt.model import Inspected
from etcdup.core.adopt.to_tls import MemberStep, ToTls, next_step
from etcdup.core.observed.member import ListedMember
from tests.support.adopt_shapes import NOW, Shape, inspected

NAMES = ("infra1", "infra2", "infra3")
FLAGS = """\
--name @NAME --listen-peer-urls http://@IP:2380 --listen-client-urls http://@IP:2379,http://127.0.0.1:2379
--advertise-client-urls http://@IP:2379 --initial-advertise-peer-urls=http://@IP:2380 --data-dir=/var/lib/etcd"""
VARIABLES = """
ETCD_NAME=@NAME
ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380
ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
ETCD_ADVERTISE_CLIENT_URLS=http://@IP:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://@IP:2380
ETCD_DATA_DIR=/var/lib/etcd
"""
AS_FLAGS = Shape(argv=FLAGS, names=NAMES)
AS_VARIABLES = Shape(variables=VARIABLES, names=NAMES, user="etcd", exe="/usr/bin/etcd")


def plain(shape: Shape, version: str = "3.6.14") -> list[Inspected]:
    """Return inspected members that have http only."""
    found = inspected(replace(shape, version=version))
    listed = tuple(with_http(each) for each in found[0].answer.members)
    return [with_pid(replace(each, answer=replace(each.answer, members=listed))) for each in found]


def with_http(member: ListedMember) -> ListedMember:
    peers, clients = (
        [url.replace("https:", "http:") for url in urls] for urls in (member.peer_urls, member.client_urls)
    )
    return replace(member, peer_urls=tuple(peers), client_urls=tuple(clients))


def with_pid(seen: Inspected) -> Inspected:
    unit = seen.process.unit
    assert unit is not None
    unit = replace(unit, properties={**unit.properties, "MainPID": str(seen.process.pid)})
    return replace(seen, process=replace(seen.process, unit=unit))


def done(seen: Sequence[Inspected], step: MemberStep) -> list[Inspected]:
    """Return the members after the commands of this step for one member."""
    own = step.member.listed
    clients = tuple(step.flags.get("advertise-client-urls", ",".join(own.client_urls)).split(","))
    listed = replace(own, peer_urls=step.urls or own.peer_urls, client_urls=clients)
    seen = [_with_listed(each, listed) for each in seen]
    if step.urls:
        return seen
    return [_restarted(each, step) if each.host == step.member.inspected.host else each for each in seen]


def _with_listed(seen: Inspected, listed: ListedMember) -> Inspected:
    members = tuple(listed if each.member_id == listed.member_id else each for each in seen.answer.members)
    return replace(seen, answer=replace(seen.answer, members=members))


def _restarted(seen: Inspected, step: MemberStep) -> Inspected:
    variables = {f"ETCD_{flag.upper().replace('-', '_')}": value for flag, value in step.flags.items()}
    process = replace(
        seen.process,
        argv=(seen.process.argv[0], *step.arguments),
        variables={**seen.process.variables, **variables},
    )
    return replace(seen, process=process)


def step_of(seen: Sequence[Inspected]) -> ToTls:
    found = next_step([member_of(each) for each in seen], NOW)
    assert isinstance(found, ToTls), found
    return found
