"""What etcdup observes of a model cluster: a real Observed, with the same files and settings that hosts would have."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from etcdup.core.certs.required import desired_certs
from etcdup.core.host.content import TextContent
from etcdup.core.host.files import desired_files, desired_settings
from etcdup.core.host.unit import UNIT_VARIABLE, unit_digest
from etcdup.core.members.member_list import former_hosts, leaving_host, member_list, stray_members
from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.directory import DirSeen, FileSeen
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import ListedMember, MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed, SnapshotSeen
from etcdup.core.observed.pki import CertSeen, CrlSeen, PkiSeen
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.version import NEWEST, parse_version
from tests.support.cluster_model import REVOKED, Cluster, Conf, Process, Slot, connected, member_id

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKEN = "prod-0123456789ab"
GIB = 1024**3
SILENT = MemberSilent("connection refused")
STOPPED = MemberSilent("etcd does not run")
DISTRUSTED = MemberSilent("its certificate has expired", lasting=True)
UNSEEN = MemberSilent("no connection to its host")


@dataclass
class ObservedModel:
    """Observations by etcdup with the cluster.yaml `target` of clusters that were formed with `base`.

    `endpoints` are those that all markers record. By default clients have those of `base` and of `target`.
    Computed parts are kept and used again, because most states differ in few parts.
    """

    base: Spec
    target: Spec
    endpoints: tuple[str, ...] = ()
    _hosts: dict[object, HostSeen | Unreachable] = field(default_factory=dict)
    _pkis: dict[object, PkiSeen] = field(default_factory=dict)
    _leaving: dict[object, HostSpec] = field(default_factory=dict)

    @cached_property
    def binaries(self) -> tuple[Binaries, ...]:
        versions = dict.fromkeys([self.target.version, *NEWEST.values()])
        return tuple(
            Binaries(each, "cache", "etcd.tar.gz", "it is in the cache", {"amd64": "00"}) for each in versions
        )

    @cached_property
    def recorded(self) -> tuple[str, ...]:
        both = {spec.client_url(host) for spec in (self.base, self.target) for host in spec.hosts}
        return self.endpoints or tuple(sorted(both))

    def observed(self, cluster: Cluster) -> Observed:
        """Observe the hosts of cluster.yaml, then other hosts of the cluster, as ops/world/observe.py does."""
        observed = Observed(
            at=NOW,
            hosts={},
            members={},
            pki=self.pki(cluster),
            binaries=self.binaries,
            snapshots=tuple(
                SnapshotSeen(f"backups/{each}", self.target.name, each, NOW - timedelta(minutes=1), 20_480)
                for each in cluster.snapshots
            ),
        )
        observed = self._observe(cluster, observed, [host.name for host in self.target.hosts])
        while more := self._hosts_not_in_spec(observed):
            observed = replace(observed, leaving={**observed.leaving, **more})
            observed = self._observe(cluster, observed, list(more))
        return observed

    def _hosts_not_in_spec(self, observed: Observed) -> dict[str, HostSpec]:
        found = {host.name: host for host in former_hosts(self.target, observed)}
        found |= {
            host.name: host
            for host in map(self._leaving_host, stray_members(self.target, member_list(observed)))
        }
        return {name: host for name, host in found.items() if name not in observed.hosts}

    def _observe(self, cluster: Cluster, observed: Observed, names: list[str]) -> Observed:
        entries = self.entries(cluster)
        return replace(
            observed,
            hosts={**observed.hosts, **{name: self._host(cluster, name) for name in names}},
            members={**observed.members, **{name: self._member(cluster, name, entries) for name in names}},
        )

    def entries(self, cluster: Cluster) -> tuple[ListedMember, ...]:
        """Return the member list."""
        return tuple(self._entry(number, slot) for number, slot in enumerate(cluster.slots) if slot.listed)

    def _entry(self, number: int, slot: Slot) -> ListedMember:
        spec = self.base if "base" in slot.url else self.target
        host = spec.host(slot.name)
        return ListedMember(
            member_id(number, slot),
            slot.name if slot.named else "",
            (spec.peer_url(host),),
            (spec.client_url(host),) if slot.named else (),
            slot.listed == "learner",
        )

    def _leaving_host(self, entry: ListedMember) -> HostSpec:
        if entry not in self._leaving:
            self._leaving[entry] = leaving_host(self.target, entry)
        return self._leaving[entry]

    def pki(self, cluster: Cluster) -> PkiSeen:
        if cluster.pki not in self._pkis:
            self._pkis[cluster.pki] = self._make_pki(cluster)
        return self._pkis[cluster.pki]

    def _make_pki(self, cluster: Cluster) -> PkiSeen:
        certs: dict[str, CertSeen] = {}
        files: dict[str, tuple[str, str]] = {}
        held = {slot.name: state for slot, state in zip(cluster.slots, cluster.pki, strict=True)}
        for wanted in (*desired_certs(self.base), *desired_certs(self.target)):
            held_state = held.get(wanted.role.partition("/")[2], 1)
            if held_state < 0:
                continue
            state = min(held_state, 1)
            ends = NOW + timedelta(days=300) if state else NOW - timedelta(days=1)
            certs[wanted.role] = CertSeen(
                f"{wanted.role}.pem", f"{wanted.role} {state}", f"{wanted.role} {state}", wanted.common_name,
                wanted.dns_names, wanted.addresses, wanted.usages, ends - timedelta(days=365), ends, "ca", "key",
                False, wanted.role, held_state == REVOKED,
            )  # fmt: skip
            files[wanted.role] = (f"{wanted.role} {state}", f"{wanted.role} {state} key")
        ends = NOW + timedelta(days=3000)
        authority = CertSeen("ca.pem", "aa", "ca", "ca", (), (), (), NOW, ends, "ca", "ca", True)
        crl = CrlSeen("list", 1, NOW, ends, "ca", frozenset())
        trust, crls = {"ca": "aa", "peer-ca": "aa"}, {"crl": crl, "peer-crl": crl}
        return PkiSeen("managed", authority, certs, files, trust, crls=crls)

    def _host(self, cluster: Cluster, name: str) -> HostSeen | Unreachable:
        slot = next((each for each in cluster.slots if each.name == name and not each.hidden), None)
        if slot is None or not slot.is_seen:
            return Unreachable(name, "no route to host")
        old = next((n for n, each in enumerate(cluster.slots) if each.name == name and each.hidden), None)
        number = cluster.number(name)
        replaced = number if old is None else old
        key = replace(slot, log=0, url="", linked=True, named=False, listed="", ours_down=False), number
        if key not in self._hosts:
            generation = 0  # the member that `member replace` replaces exists from the start
            ident = member_id(replaced, replace(slot, generation=generation))
            self._hosts[key] = self._make_host(slot, cluster, f"{ident:x}")
        return self._hosts[key]

    def _make_host(self, slot: Slot, cluster: Cluster, replaces: str) -> HostSeen:
        spec = self._spec_of(slot)
        layout = layout_of(spec, spec.host(slot.name))
        fresh = slot.marker == ""
        entries: tuple[str, ...] | None = ("member",) if slot.data is not None else (None if fresh else ())
        return HostSeen(
            host=slot.name, arch="amd64", distribution="debian", distribution_version="12", hostname=slot.name,
            machine_id=slot.name + str(slot.hidden), systemd=True, clock_ahead_s=0.0, etcd_user=not fresh,
            opt_free_bytes=50 * GIB,
            data=DirSeen(layout.data_dir, entries, "etcd:etcd", 0o700, free_bytes=50 * GIB,
                         has_wal=slot.data is not None),
            wal=None,
            files=self._files(slot, cluster, layout),
            unit=self._unit(slot, layout),
            versions=slot.versions,
            current=slot.current,
            marker=None if fresh else Marker(
                spec.name, slot.name, TOKEN, layout.data_dir, slot.marker == "formed",
                replaces if slot.marker == "replacing" else "", endpoints=self.recorded,
            ),
            joining=slot.joining,
        )  # fmt: skip

    def _spec_of(self, slot: Slot) -> Spec:
        return self.target if any(host.name == slot.name for host in self.target.hosts) else self.base

    def _spec_at(self, conf: Conf) -> Spec:
        return (self.base if conf.spec == "base" else self.target).at(parse_version(conf.version))

    def _files(self, slot: Slot, cluster: Cluster, layout: Layout) -> dict[str, FileSeen]:
        if slot.conf is None:
            return {}
        spec = self._spec_at(slot.conf)
        # A host has the certificates that it got last, whatever the operator has by now.
        given = tuple(slot.certs if each.name == slot.name else 1 for each in cluster.slots)
        pki = self.pki(replace(cluster, pki=given))
        return {
            file.path: FileSeen(
                file.path,
                file.sha256 or "",
                file.mode,
                file.owner,
                file.content.text if isinstance(file.content, TextContent) else None,
            )
            for file in desired_files(spec, spec.host(slot.name), layout, TOKEN, pki)
        }

    def _unit(self, slot: Slot, layout: Layout) -> UnitSeen:
        load = "not-found" if slot.conf is None else "loaded"
        enabled = "enabled" if slot.enabled else ""
        process = slot.process
        if process is None:
            return UnitSeen(load=load, enabled=enabled)
        return UnitSeen(
            load=load, active="active", sub="running", enabled=enabled, main_pid=4711,
            exe=f"{layout.version_dir(process.version)}/etcd", environment=self._environment(slot, process, layout),
        )  # fmt: skip

    def _environment(self, slot: Slot, process: Process, layout: Layout) -> dict[str, str]:
        spec = self._spec_at(process.conf)
        host = spec.host(slot.name)
        pki = PkiSeen("managed", trust={"ca": "aa", "peer-ca": "aa"})
        files = desired_files(spec, host, layout, TOKEN, pki)
        unit = next(file.content for file in files if file.path == layout.unit)
        assert isinstance(unit, TextContent)
        settings = desired_settings(spec, host, layout, TOKEN, pki).variables()
        return {**settings, UNIT_VARIABLE: unit_digest(unit.text)}

    def _member(
        self, cluster: Cluster, name: str, entries: tuple[ListedMember, ...]
    ) -> MemberSeen | MemberSilent:
        number = next((n for n, s in enumerate(cluster.slots) if s.name == name and not s.hidden), None)
        if number is None or not cluster.slots[number].is_seen:
            return UNSEEN
        slot = cluster.slots[number]
        process = slot.process
        if process is None:
            return STOPPED
        if slot.certs == 0:
            return DISTRUSTED
        if not process.ready or not slot.listed or process.generation != slot.generation:
            return SILENT
        return self._status(cluster, number, slot, process, entries)

    def _status(
        self,
        cluster: Cluster,
        number: int,
        slot: Slot,
        process: Process,
        entries: tuple[ListedMember, ...],
    ) -> MemberSeen:
        led = cluster.leader is not None and slot.linked and connected(slot, cluster.slots[cluster.leader])
        leader = cluster.leader if led and cluster.leader is not None else None
        learner = slot.listed == "learner"
        newer = process.version >= "3.6"
        to = cluster.downgrade_to
        return MemberSeen(
            member_id=member_id(number, slot), cluster_id=7, version=parse_version(process.version),
            leader_id=0 if leader is None else member_id(leader, cluster.slots[leader]),
            raft_term=2 if led else 1, raft_index=100 + slot.log, applied_index=100 + slot.log,
            db_size=20_480, db_in_use=20_480, is_learner=learner,
            members=() if learner else entries,
            errors=() if led else ("etcdserver: no leader",),
            storage_version=f"{cluster.version[0]}.{cluster.version[1]}.0" if newer else "",
            downgrade_to=f"{to[0]}.{to[1]}.0" if newer and to else "",
        )  # fmt: skip
