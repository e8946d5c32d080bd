"""What a later take-over would change on the hosts, what it would lose, and what the operator must decide before it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from etcdup.core.adopt.member import Member
from etcdup.core.adopt.model import Unit
from etcdup.core.adopt.notes import Notes
from etcdup.core.adopt.settings import is_on, value_of
from etcdup.core.host.settings import settings_of
from etcdup.core.spec.address import is_loopback
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.visible import one_line

_UNIT_LIMITS = {
    "Nice": ("0", ""),
    "OOMScoreAdjust": ("0", ""),
    "IOSchedulingClass": ("", "0", "2"),
    "CPUSchedulingPolicy": ("0", ""),
    "CPUQuotaPerSecUSec": ("infinity", ""),
    "MemoryMax": ("infinity", ""),
    "MemoryHigh": ("infinity", ""),
    "CPUWeight": ("[not set]", ""),
}
MOST_CLIENTS = 16
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# Groups of etcd.conf whose values the draft does not have.
_TUNING = "Timing, size and corruption checks"
_IN_DRAFT = ("heartbeat-interval", "election-timeout", "quota-backend-bytes", "auto-compaction-mode",
             "auto-compaction-retention")  # fmt: skip


def note_changes(members: Sequence[Member], spec: Spec, notes: Notes) -> None:
    """Fill the four lists with facts that no key of cluster.yaml has."""
    notes.stays += [
        (
            "",
            f"the cluster ID {members[0].inspected.answer.cluster_id}, the member IDs and the names of the members",
        ),
        ("", "the data, in the directory where it is"),
        ("", f"etcd {members[0].version}, and the addresses and ports of all members"),
        ("", "files that etcdup did not make, certificates included: they are not removed"),
    ]
    layout = layout_of(spec, spec.hosts[0])
    for member in members:
        _note_unit(member, layout, notes)
        _note_process(member, layout, notes)
        _note_security(member, notes)
        _note_urls(member, spec, notes)
        _note_variables(member, notes)
        _note_owners(member, notes)
        _note_faults(member, notes)
    _note_added(members, spec, layout, notes)
    notes.decide.append(
        (
            "",
            "alarms, hashes of the data, and users of etcd are not read: run `etcdctl alarm list` and `auth status`. "
            "If authentication is enabled, and the client certificate of etcdup is for no user with the role root, add "
            "`etcd.access`",
        )
    )


def _note_added(members: Sequence[Member], spec: Spec, layout: Layout, notes: Notes) -> None:
    """Note the values that etcdup sets by itself, where the members have another value or none."""
    made = settings_of(spec, spec.hosts[0], layout, "", peer_common_name=None, trust="")
    for variable, value in dict(made.groups)[_TUNING]:
        flag = variable.removeprefix("ETCD_").lower().replace("_", "-")
        if flag in _IN_DRAFT or flag in spec.etcd.extra:
            continue
        differing = [each.name for each in members if value_of(each.settings, flag) != value]
        notes.changes += [(name, f"{flag} becomes {value}") for name in differing]


def _note_faults(member: Member, notes: Notes) -> None:
    notes.decide += [(member.name, f"not read: {fault}") for fault in member.inspected.faults]


def _note_unit(member: Member, layout: Layout, notes: Notes) -> None:
    process, name = member.process, member.name
    unit = process.unit
    if process.is_pod:
        notes.changes.append((name, "the kubelet does not start etcd any more: its manifest is moved away"))
    elif process.container:
        notes.changes.append((name, f"{layout.unit} starts etcd in place of a container"))
    elif unit is None:
        notes.decide.append(
            (name, "no unit of systemd starts etcd: something else starts it after a reboot, or nothing")
        )
    else:
        fragment = unit.properties.get("FragmentPath", "")
        notes.changes.append(
            (name, f"the unit is {layout.unit}; now {unit.name} is {one_line(fragment, 300)}")
        )
        _note_unit_settings(name, unit, notes)


def _note_unit_settings(name: str, unit: Unit, notes: Notes) -> None:
    for drop_in in unit.paths("DropInPaths"):
        notes.decide.append(
            (name, f"the drop-in {one_line(drop_in, 300)} changes the unit: check whether it is still needed")
        )
    if unit.properties.get("NeedDaemonReload") == "yes":
        notes.decide.append(
            (name, f"{unit.name} changed on the disk since systemd read it: the next start differs")
        )
    for key, defaults in _UNIT_LIMITS.items():
        value = unit.properties.get(key, "")
        if value not in defaults:
            notes.lost.append((name, f"{key}={one_line(value, 100)} of {unit.name}"))


def _note_process(member: Member, layout: Layout, notes: Notes) -> None:
    process, name = member.process, member.name
    if process.user != "etcd":
        text = (
            f"etcd runs as user etcd in place of {one_line(process.user, 64)}, and the data belongs to etcd"
        )
        notes.changes.append((name, text))
    exe, deleted = process.exe.removesuffix(" (deleted)"), process.exe.endswith(" (deleted)")
    notes.changes.append(
        (name, f"the program is {layout.versions}/{member.version}/etcd in place of {one_line(exe, 300)}")
    )
    if deleted:
        text = f"{one_line(exe, 300)} was replaced since etcd started: the next restart runs another program"
        notes.decide.append((name, text))
    if process.config and process.config.changed_at > process.started_at:
        at = datetime.fromtimestamp(process.started_at, UTC)
        text = (
            f"{one_line(process.config.path, 300)} changed after etcd started ({at:%Y-%m-%dT%H:%M:%SZ}). "
            "The draft has its values, which the process may not have"
        )
        notes.decide.append((name, text))


def _note_security(member: Member, notes: Notes) -> None:
    name, settings = member.name, member.settings
    if not is_on(settings, "client-cert-auth"):
        text = "each program that reaches the client port can change all keys without a certificate"
        notes.decide.append((name, f"{text}. Remove `client_auth` when all clients have one"))
    if not is_on(settings, "peer-client-cert-auth"):
        notes.changes.append((name, "each peer needs a certificate of the CA; now etcd requires none"))
    if is_on(settings, "auto-tls"):
        notes.changes.append(
            (name, "clients get a certificate of the CA in place of a self-signed one (auto-tls)")
        )
    for flag in ("client-crl-file", "peer-crl-file"):
        if path := member.path(flag):
            notes.decide.append((name, f"{flag} is {path}: put its copy into `tls` of cluster.yaml"))


def _note_urls(member: Member, spec: Spec, notes: Notes) -> None:
    name = member.name
    for url in member.urls("listen-client-urls"):
        if url.scheme == "http":
            notes.decide.append((name, f"{url.text} becomes https, and its clients need certificates"))
        elif url.host not in (member.peer.host, "0.0.0.0", "::") and not is_loopback(url.host):  # noqa: S104
            notes.lost.append((name, f"the listener {url.text}"))
    if clients := ", ".join(_clients(member)):
        notes.decide.append((name, f"clients that are connected now: {clients}"))
    advertised = member.client
    for text in member.listed.client_urls:
        if advertised and text != advertised.text:
            notes.lost.append((name, f"the advertised client URL {text}"))
    metrics = member.urls("listen-metrics-urls")
    if not metrics:
        here = f"http://127.0.0.1:{spec.etcd.metrics_port}"
        text = f"metrics are also at {here}; on the client port they need a certificate"
        notes.changes.append((name, text))
    for url in metrics:
        if url.scheme != "http" or not is_loopback(url.host):
            notes.lost.append((name, f"the listener for metrics {url.text}"))


def _clients(member: Member) -> list[str]:
    """Return the programs of this host, and the addresses of other hosts, that are connected to the client ports."""
    ports = {url.port for url in member.urls("listen-client-urls")}
    connections = member.inspected.connections
    connected = {(each.local, each.remote): each.inode for each in connections.sockets if each.is_connected}
    found = set()
    for own, other in connected:
        pid, program = connections.owners.get(connected.get((other, own), ""), (0, ""))
        if own[1] in ports and pid != member.process.pid and pid not in connections.ours:
            found.add(f"{one_line(program, 40)} (pid {pid})" if pid else other[0])
    return sorted(found)[:MOST_CLIENTS]


def _note_variables(member: Member, notes: Notes) -> None:
    variables = member.process.variables
    if found := [each for each in variables if each.upper() in _PROXIES]:
        notes.lost.append((member.name, f"the variables of a proxy: {', '.join(found)}"))
    if token := value_of(member.settings, "initial-cluster-token"):
        notes.lost.append(
            (member.name, f"the token {one_line(token, 100)}, which etcd reads only at its first start")
        )


def _note_owners(member: Member, notes: Notes) -> None:
    name, owners, process = member.name, member.inspected.first.owners, member.process
    for package in process.packages:
        owned = f"package {one_line(package, 100)} owns files of etcd"
        text = f"{owned}: its upgrade can restart etcd. Hold it, and never purge it"
        notes.decide.append((name, text))
    timers = [each for each in owners.timers if "etcd" in each or process.packages]
    if timers:
        notes.decide.append((name, f"timers that can act on etcd: {one_line(', '.join(timers), 300)}"))
    if owners.cron:
        notes.decide.append((name, f"cron jobs that name etcd: {one_line(', '.join(owners.cron), 300)}"))
    if process.is_pod:
        found = process.pod.manifests if process.pod else ()
        paths = found or [each for each in owners.manifests if "etcd" in each.rpartition("/")[2]]
        notes.decide.append(
            (
                name,
                f"the kubelet starts etcd from {one_line(', '.join(paths), 300) or 'a manifest'}. "
                "The take-over needs `--static-pods`, because it moves the manifest",
            )
        )
    if any(path.startswith("/etc/ssl/etcd/ssl/") for path in member.inspected.certs):
        text = "this is the layout of kubespray: its next run restarts etcd, and its reset deletes the data"
        notes.decide.append((name, text))
    if owners.ansible:
        where = one_line(owners.ansible[0], 200)
        text = f"Ansible was used here ({where}): a playbook can write the settings of etcd again"
        notes.decide.append((name, text))
    if owners.juju:
        notes.decide.append((name, "an agent of Juju runs here"))
