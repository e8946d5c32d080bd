"""Hypothesis strategies for all observations that etcdup can make, likely or not."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from etcdup.core.host.files import desired_files
from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.directory import DirSeen, FileSeen
from etcdup.core.observed.host import HostSeen, ListeningPort, Unreachable
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import ListedMember, MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKENS = ("prod-aaaaaaaaaaaa", "prod-bbbbbbbbbbbb")
GIB = 1024**3


def observations(spec: Spec) -> st.SearchStrategy[Observed]:
    """Generate observations of a Spec. Each host and member has an entry, and all else is arbitrary."""
    names = [host.name for host in spec.hosts]
    return st.builds(
        Observed,
        at=st.just(NOW),
        hosts=st.fixed_dictionaries({name: hosts(spec, name) for name in names}),
        members=st.fixed_dictionaries({name: members(spec) for name in names}),
        pki=pkis(),
        binaries=st.one_of(
            st.just(()),
            st.tuples(
                st.builds(
                    Binaries,
                    version=st.just(spec.version),
                    source=st.sampled_from(["cache", "release", "package", "go", "path", "host"]),
                    origin=st.just("somewhere"),
                    why=st.just("it is there"),
                    sha256=st.sampled_from([{}, {"amd64": "00"}]),
                )
            ),
        ),
    )


def hosts(spec: Spec, name: str) -> st.SearchStrategy[HostSeen | Unreachable]:
    layout = layout_of(spec, spec.host(name))
    seen = st.builds(
        HostSeen,
        host=st.just(name),
        arch=st.sampled_from(["amd64", "arm64", "riscv64"]),
        distribution=st.sampled_from(["debian", "rocky", "unknown"]),
        distribution_version=st.just("12"),
        hostname=st.just(name),
        machine_id=st.sampled_from(["one", "two"]),
        systemd=st.booleans(),
        clock_ahead_s=st.sampled_from([0.0, 3600.0, -40.0]),
        etcd_user=st.booleans(),
        opt_free_bytes=st.sampled_from([0, 50 * GIB]),
        data=directories(layout.data_dir),
        wal=st.none(),
        files=files(spec, name),
        unit=units(spec, name),
        other_units=st.sampled_from([(), ("etcd-events.service",)]),
        versions=st.sampled_from([(), (str(spec.version),), ("3.4.23", str(spec.version))]),
        current=st.sampled_from(["", str(spec.version), "3.4.23"]),
        marker=st.one_of(st.none(), markers(spec, name)),
        listening=st.sampled_from([(), (ListeningPort(2379, 815, "nginx"),), (ListeningPort(2380),)]),
        joining=st.booleans(),
    )
    return st.one_of(seen, st.just(Unreachable(name, "no route to host")))


def directories(path: str) -> st.SearchStrategy[DirSeen]:
    entries = st.sampled_from(
        [None, (), ("member",), ("lost+found",), ("base", "pg_wal"), ("aside-1", "member")]
    )
    return st.builds(
        DirSeen,
        path=st.just(path),
        entries=entries,
        owner=st.sampled_from(["etcd:etcd", "root:root"]),
        mode=st.sampled_from([0o700, 0o755]),
        mount=st.booleans(),
        filesystem=st.just("ext2/ext3"),
        free_bytes=st.sampled_from([0, 50 * GIB]),
        has_wal=st.booleans(),
    )


def files(spec: Spec, name: str) -> st.SearchStrategy[dict[str, FileSeen]]:
    """Generate a subset of the files that a host must have: correct, changed, or with another mode and owner."""
    host = spec.host(name)
    wanted = desired_files(spec, host, layout_of(spec, host), TOKENS[0], PkiSeen("managed"))
    choices = {
        file.path: st.sampled_from(
            [
                FileSeen(file.path, file.sha256 or "11", file.mode, file.owner, "text"),
                FileSeen(file.path, "22", 0o777, "daemon:daemon", "ETCD_NAME=other\n"),
            ]
        )
        for file in wanted
    }
    return st.fixed_dictionaries({}, optional=choices)


def units(spec: Spec, name: str) -> st.SearchStrategy[UnitSeen]:
    environments = [
        {},
        {"ETCD_NAME": name, "ETCD_INITIAL_CLUSTER_TOKEN": TOKENS[0]},
        {"ETCD_NAME": "other", "ETCDUP_UNIT": "000000000000"},
    ]
    return st.builds(
        UnitSeen,
        load=st.sampled_from(["loaded", "not-found", "masked"]),
        active=st.sampled_from(["active", "activating", "inactive", "failed", "deactivating"]),
        sub=st.just("running"),
        enabled=st.sampled_from(["enabled", "disabled", "masked", ""]),
        main_pid=st.sampled_from([0, 4711]),
        restarts=st.sampled_from([0, 5]),
        needs_reload=st.booleans(),
        exe=st.sampled_from(["", f"/opt/etcd/{spec.version}/etcd", "/usr/bin/etcd (deleted)", "etcd"]),
        environment=st.sampled_from(environments),
    )


def markers(spec: Spec, name: str) -> st.SearchStrategy[Marker]:
    return st.builds(
        Marker,
        cluster=st.sampled_from([spec.name, spec.name, spec.name, "other"]),
        member=st.sampled_from([name, name, "infra9"]),
        token=st.sampled_from(TOKENS),
        data_dir=st.just(spec.etcd.data_dir),
        formed=st.booleans(),
    )


def members(spec: Spec) -> st.SearchStrategy[MemberSeen | MemberSilent]:
    listed = tuple(
        ListedMember(number, host.name, (spec.peer_url(host),), (spec.client_url(host),), False)
        for number, host in enumerate(spec.hosts, 1)
    )
    unstarted = ListedMember(9, "", ("https://10.9.9.9:2380",), (), True)
    seen = st.builds(
        MemberSeen,
        member_id=st.integers(1, len(spec.hosts)),
        cluster_id=st.sampled_from([7, 7, 7, 8]),
        version=st.sampled_from([spec.version, Version(3, 4, 23), Version(3, 7, 1)]),
        leader_id=st.integers(0, len(spec.hosts)),
        raft_term=st.integers(1, 3),
        raft_index=st.just(10),
        applied_index=st.just(10),
        db_size=st.just(20_480),
        db_in_use=st.just(20_480),
        is_learner=st.booleans(),
        members=st.sampled_from([listed, listed, listed[:-1], (*listed, unstarted), ()]),
        alarms=st.sampled_from([(), ("NOSPACE",), ("CORRUPT on member 1",)]),
        errors=st.sampled_from([(), ("etcdserver: no leader",)]),
    )
    return st.one_of(seen, st.just(MemberSilent("connection refused")))


def pkis() -> st.SearchStrategy[PkiSeen]:
    authority = CertSeen(
        "ca.pem",
        "aa",
        "bb",
        "ca",
        (),
        (),
        (),
        NOW - timedelta(days=1),
        NOW + timedelta(days=900),
        "k",
        "k",
        True,
    )
    return st.builds(
        PkiSeen,
        mode=st.sampled_from(["managed", "provided"]),
        ca=st.sampled_from([None, authority]),
        certs=st.just({}),
        files=st.just({}),
        trust=st.sampled_from([{}, {"ca": "aa", "peer-ca": "aa"}]),
    )
