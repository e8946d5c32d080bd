"""The draft of a cluster that another tool made: its values, its lists, and what cannot be adopted.

UPDATE_GOLDEN=1 rewrites the files in `shapes`.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import member_of
from etcdup.core.adopt.model import HostProcesses, Inspected, Owners, Process, Unreadable
from etcdup.core.adopt.refusals import refuse_files, refuse_host, refuse_unnamed, unnamed_members
from etcdup.core.observed.connections import HostConnections, Socket
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import ListedMember
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.load import load
from etcdup.core.spec.model import is_host_name
from etcdup.core.spec.units import Revisions
from etcdup.core.spec.version import Version
from tests.core.spec.test_load import spec_value
from tests.support.adopt_shapes import (
    GUIDE,
    KUBEADM,
    KUBEASZ,
    KUBESPRAY,
    NOW,
    SHAPES,
    STARTED_AT,
    Shape,
    cert,
    initial_cluster,
    inspected,
    process_of,
    with_answer,
)
from tests.support.cases import quick_first
from tests.support.texts import Texts

GOLDEN = Path(__file__).parent / "shapes"


def draft_of(seen: list[Inspected], name: str = "") -> Draft | tuple[Refused, ...]:
    return draft([member_of(each) for each in seen], Wanted(name, "root"), NOW)


def made(seen: list[Inspected], name: str = "") -> Draft:
    found = draft_of(seen, name)
    assert isinstance(found, Draft), found
    return found


def golden_text(found: Draft) -> str:
    lists = (
        ("stays", found.stays),
        ("changes", found.changes),
        ("lost", found.lost),
        ("decide", found.decide),
    )
    return found.text + "".join(
        f"\n# {title}\n" + "".join(f"# - {each}\n" for each in text) for title, text in lists
    )


@pytest.mark.parametrize("name", quick_first(*SHAPES))
def test_the_draft_of_each_shape(name: str) -> None:
    shape = SHAPES[name]
    found = made(inspected(shape))
    assert load(found.text) == found.spec
    assert {path: spec_value(found.spec, path) for path in shape.expected} == {
        path: str(value) for path, value in shape.expected.items()
    }
    assert [found.spec.peer_url(each) for each in found.spec.hosts] == [
        f"https://10.0.0.{number}:2380" for number in (1, 2, 3)
    ]
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(golden_text(found), encoding="utf-8")
    assert golden_text(found) == path.read_text(encoding="utf-8")


def test_each_key_of_the_draft_says_where_it_is_from() -> None:
    lines = made(inspected(KUBESPRAY)).text.splitlines()
    keys = [line for line in lines if line and not line.startswith("#") and not line.endswith((":", "root"))]
    assert [line for line in keys if "  # " not in line] == []


def test_a_value_of_one_member_is_to_be_decided() -> None:
    seen = inspected(KUBESPRAY)
    other = replace(
        seen[1].process, variables={**seen[1].process.variables, "ETCD_QUOTA_BACKEND_BYTES": "4294967296"}
    )
    found = made([seen[0], replace(seen[1], process=other), seen[2]])
    assert found.spec.etcd.quota == 2 * 1024**3
    assert [each for each in found.decide if "4294967296" in each and "etcd2" in each]


def test_directories_and_ports_of_their_own() -> None:
    seen = inspected(GUIDE)
    words = [*seen[2].process.argv]
    words[words.index("--data-dir=/var/lib/etcd")] = "--data-dir=infra3.etcd"
    listed = [
        replace(each, client_urls=("https://10.0.0.3:12379",)) if each.name == "infra3" else each
        for each in seen[0].answer.members
    ]
    seen[2] = replace(seen[2], process=replace(seen[2].process, argv=tuple(words)))
    found = made([with_answer(each, members=tuple(listed)) for each in seen])
    assert [each.client_port for each in found.spec.hosts] == [None, None, 12379]
    folders = [found.spec.data_dir(each) for each in found.spec.hosts]
    assert folders == ["/var/lib/etcd", "/var/lib/etcd", "/var/lib/etcd/infra3.etcd"], "it starts at the cwd"


PLACES = st.fixed_dictionaries(
    {
        "data-dir": st.sampled_from(("/var/lib/etcd", "/var/lib/other", "own")),
        "wal-dir": st.sampled_from(("", "/srv/wal/etcd", "/srv/wal/other")),
        "listen-metrics-urls": st.sampled_from(
            ("", "http://127.0.0.1:2381", "http://0.0.0.0:9090,http://127.0.0.1:2391")
        ),
    }
)
PORTS = {"http://127.0.0.1:2381": 2381, "http://0.0.0.0:9090,http://127.0.0.1:2391": 2391}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("aB_1-.é", min_size=1, max_size=70), min_size=3, max_size=3, unique=True),
    st.lists(PLACES, min_size=3, max_size=3),
)
@example(["_", "host1", "host2"], [{"data-dir": "own", "wal-dir": "", "listen-metrics-urls": ""}] * 3)
def test_each_member_keeps_its_name_its_peer_url_and_its_places(
    names: list[str], places: list[dict[str, str]]
) -> None:
    seen = [
        replace(each, process=replace(each.process, argv=(*each.process.argv, *words)))
        for each, words in zip(
            inspected(replace(GUIDE, names=names)),
            [[f"--{flag}={value}" for flag, value in each.items()] for each in places],
            strict=True,
        )
    ]
    spec = made(seen).spec
    assert spec.initial_cluster() == initial_cluster(names)
    assert [each.name for each in spec.hosts if is_host_name(each.member_name)] == list(
        filter(is_host_name, names)
    )
    for host, place in zip(spec.hosts, places, strict=True):
        assert spec.data_dir(host) == str(PurePosixPath("/var/lib/etcd", place["data-dir"]))
        assert spec.wal_dir(host) == (place["wal-dir"] or None)
        assert PORTS.get(place["listen-metrics-urls"]) in (None, spec.metrics_port(host))


@pytest.mark.parametrize("listens", ["0.0.0.0", "192.168.1.1"])
def test_members_that_listen_on_another_address_than_the_advertised_one(listens: str) -> None:
    change = _words("--listen-peer-urls=https://10.0.0.1:", f"--listen-peer-urls=https://{listens}:")
    assert [each.listen_address for each in made(change(inspected(GUIDE))).spec.hosts] == [
        listens,
        None,
        None,
    ]


def test_the_connected_clients_are_named(texts: Texts) -> None:
    """An own connection of etcd, for its gateway, is no client."""
    server, client, far = ("127.0.0.1", 2379), ("127.0.0.1", 50001), ("10.0.0.9", 50002)
    sockets = (
        Socket(server, client, "1", is_connected=True),
        Socket(client, server, "2", is_connected=True),
        Socket(("10.0.0.1", 2379), far, "3", is_connected=True),
        Socket(server, ("127.0.0.1", 50003), "4", is_connected=True),
        Socket(("127.0.0.1", 50003), server, "5", is_connected=True),
        Socket(("10.0.0.1", 22), ("10.0.0.8", 50004), "6", is_connected=True),
    )
    seen = inspected(GUIDE)
    owners = {"2": (812, "kube-apiserver"), "5": (seen[0].process.pid, "etcd")}
    seen[0] = replace(seen[0], connections=HostConnections(sockets, owners))
    named = [each for each in made(seen).decide if "kube-apiserver (pid 812)" in each]
    texts(named)


def test_a_file_that_changed_since_the_start_is_to_be_decided(texts: Texts) -> None:
    seen = inspected(SHAPES["pigsty"])
    config = seen[0].process.config
    assert config is not None
    later = replace(seen[0].process, config=replace(config, changed_at=seen[0].process.started_at + 60))
    decide = made([replace(seen[0], process=later), *seen[1:]]).decide
    texts([each for each in decide if "/etc/etcd/etcd.conf" in each])


Change = Callable[[list[Inspected]], list[Inspected]]


def _each(change: Callable[[Inspected], Inspected]) -> Change:
    return lambda seen: [change(each) for each in seen]


def _members(*members: ListedMember) -> Change:
    return _each(lambda seen: with_answer(seen, members=(*seen.answer.members, *members)))


def _first(change: Callable[[Inspected], Inspected]) -> Change:
    return lambda seen: [change(seen[0]), *seen[1:]]


def _words(old: str, new: str) -> Change:
    def change(seen: Inspected) -> Inspected:
        argv = tuple(word.replace(old, new) for word in seen.process.argv)
        return replace(seen, process=replace(seen.process, argv=argv))

    return _each(change)


def _urls(peers: tuple[str, ...], clients: tuple[str, ...]) -> Change:
    def change(seen: Inspected) -> Inspected:
        first, *rest = seen.answer.members
        return with_answer(seen, members=(replace(first, peer_urls=peers, client_urls=clients), *rest))

    return _each(change)


FOURTH = ListedMember(4, "infra4", ("https://10.0.0.4:2380",), ("https://10.0.0.4:2379",), False)
REFUSED: dict[str, Change] = {
    "four members": _members(FOURTH),
    "a learner": _members(FOURTH, replace(FOURTH, member_id=5, name="x", is_learner=True)),
    "never started": _members(FOURTH, replace(FOURTH, member_id=5, name="")),
    "twins": _members(FOURTH, replace(FOURTH, member_id=5)),
    "two versions": _first(lambda seen: with_answer(seen, version=Version(3, 5, 21))),
    "two clusters": _first(lambda seen: with_answer(seen, cluster_id="1")),
    "two lists": _first(lambda seen: with_answer(seen, members=seen.answer.members[:2])),
    "the same member twice": lambda seen: [*seen[:2], seen[1]],
    "an old version": _each(lambda seen: with_answer(seen, version=Version(3, 3, 27))),
    "two peer URLs": _urls(("https://10.0.0.1:2380", "https://10.0.0.1:2390"), ("https://10.0.0.1:2379",)),
    "http in the member list": _urls(("http://10.0.0.1:2380",), ("https://10.0.0.1:2379",)),
    "another address for clients": _urls(("https://10.0.0.1:2380",), ("https://10.1.0.1:2379",)),
    "no client URL": _urls(("https://10.0.0.1:2380",), ()),
    "a home directory": _words("/var/lib/etcd", "/home/etcd"),
    "one directory inside the other": _words("--data-dir=/var/lib/etcd", "--data-dir=/"),
    "a certificate that ends": _first(
        lambda seen: replace(
            seen,
            certs={
                "/etc/kubernetes/ssl/kubernetes.pem": (
                    cert("/p", "CN=kubernetes", "k", ends=NOW + timedelta(days=3)),
                )
            },
        )
    ),
}


@pytest.mark.parametrize("case", quick_first(*REFUSED))
def test_a_cluster_that_cannot_be_adopted_is_refused(texts: Texts, case: str) -> None:
    found = draft_of(REFUSED[case](inspected(GUIDE)))
    assert not isinstance(found, Draft), found.text
    texts(found)
    assert all(each.hint for each in found)


def test_a_member_keeps_a_name_that_a_host_cannot_have() -> None:
    spec = made(inspected(replace(KUBEASZ, names=("etcd_1", "Etcd2", "etcd.2", "etcd-1", "_")))).spec
    assert [each.member_name for each in spec.hosts] == ["etcd_1", "Etcd2", "etcd.2", "etcd-1", "_"]
    assert [each.name for each in spec.hosts] == ["host1", "etcd2", "etcd.2", "etcd-1", "host5"]


def test_compaction_by_revision_and_the_variables_of_go() -> None:
    argv = f"{GUIDE.argv} --auto-compaction-mode=revision --auto-compaction-retention=10000"
    spec = made(inspected(replace(GUIDE, argv=argv, variables="GOMAXPROCS=4\nHTTPS_PROXY=hidden"))).spec
    assert spec.etcd.auto_compaction == Revisions(10000)
    assert spec.etcd.environment == {"GOMAXPROCS": "4"}


def _host(shape: Shape, *, process: Process | None = None, **changes: object) -> HostProcesses:
    first = HostProcesses("10.0.0.1", "host1", (process or process_of(shape, 1),), shape.owners)
    return replace(first, **changes)  # type: ignore[arg-type]


STACKED = Owners(
    manifests=("/etc/kubernetes/manifests/etcd.yaml", "/etc/kubernetes/manifests/kube-apiserver.yaml"),
    apiserver_etcd="- --etcd-servers=https://127.0.0.1:2379",
)
MARKER = Marker(cluster="prod", member="infra1", token="t", data_dir="/var/lib/etcd", formed=True)
ONE = process_of(GUIDE, 1)
NO_MEMBER = {
    "no etcd": _host(GUIDE, processes=()),
    "k3s": _host(GUIDE, processes=(), embedded=("k3s-server",)),
    "k0s": _host(GUIDE, process=replace(ONE, exe="/var/lib/k0s/bin/etcd"), embedded=("k0s",)),
    "two members": _host(GUIDE, processes=(ONE, process_of(GUIDE, 2))),
    "a marker": _host(GUIDE, marker=MARKER),
    "a snap": _host(GUIDE, process=replace(ONE, exe="/snap/charmed-etcd/12/bin/etcd")),
    "bitnami": _host(GUIDE, process=replace(ONE, exe="/opt/bitnami/etcd/bin/etcd")),
    "a stacked control plane": _host(KUBEADM, owners=STACKED),
    "a network of its own": _host(
        GUIDE, process=replace(ONE, container="/docker/0123", has_own_network=True)
    ),
    "http peers": _host(replace(GUIDE, argv="--listen-peer-urls=http://@IP:2380")),
    "defaults": _host(replace(GUIDE, argv="--name=@NAME")),
    "peer-auto-tls": _host(replace(GUIDE, argv="--listen-peer-urls=https://@IP:2380 --peer-auto-tls")),
    "force-new-cluster": _host(replace(GUIDE, argv=f"{GUIDE.argv} --force-new-cluster")),
    "unsafe-no-fsync": _host(replace(GUIDE, argv=f"{GUIDE.argv} --unsafe-no-fsync=1")),
}


@pytest.mark.parametrize("case", quick_first(*NO_MEMBER))
def test_a_host_without_a_member_of_its_own_is_refused(case: str) -> None:
    (refused,) = refuse_host(NO_MEMBER[case])
    assert refused.host == "10.0.0.1"
    assert refused.hint


@pytest.mark.parametrize("name", quick_first(*SHAPES))
def test_no_shape_is_refused_by_its_host(name: str) -> None:
    assert refuse_host(_host(SHAPES[name])) == ()


def test_a_gateway_on_the_host_is_no_member() -> None:
    gateway = replace(ONE, pid=1, argv=("/usr/bin/etcd", "grpc-proxy", "start"))
    assert refuse_host(_host(GUIDE, processes=(gateway, ONE))) == ()


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        ((("/var/lib/etcd", "/var/lib/etcd"),), False),
        ((("/", "/"), ("/data", "/var/lib")), False),
        ((("/", "/"),), True),
        ((("/var/lib/docker/volumes/etcd/_data", "/var/lib/etcd"),), True),
    ],
)
def test_the_data_of_a_container_is_a_directory_of_the_host(
    mounts: tuple[tuple[str, str], ...], refused: bool
) -> None:
    seen = inspected(GUIDE)[0]
    inside = replace(seen, process=replace(seen.process, container="/docker/0123", mounts=mounts))
    assert bool(refuse_files(inside, ("/var/lib/etcd",))) is refused
    assert not refuse_files(seen, ("/var/lib/etcd",)), "a process of the host needs no mount"


def test_members_that_were_not_named_are_not_inspected(texts: Texts) -> None:
    members = [member_of(inspected(GUIDE)[0])]
    assert unnamed_members(members) == {"infra2": "10.0.0.2", "infra3": "10.0.0.3"}
    (refused,) = refuse_unnamed(members)
    texts(refused)


def test_a_member_that_the_list_does_not_have_is_not_readable() -> None:
    seen = inspected(GUIDE)[0]
    with pytest.raises(Unreadable):
        member_of(with_answer(seen, members=seen.answer.members[1:]))
    with pytest.raises(Unreadable):
        member_of(with_answer(seen, version=None))


def test_the_certificates_of_the_fixture_are_valid() -> None:
    assert STARTED_AT < NOW
