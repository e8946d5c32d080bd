"""The `ETCD_*` variables of a member, by etcd's own names, and what differs between minors (rule 51)."""

from dataclasses import dataclass

from etcdup.core.host.startup_fence import MEMBERS_VARIABLE, fence_endpoints
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import HostSpec, Spec, bracketed
from etcdup.core.spec.version import Version

# etcd reads these only where there is no data yet (rule 7): a difference in them needs no restart.
FIRST_START_ONLY = frozenset(
    {"ETCD_INITIAL_CLUSTER", "ETCD_INITIAL_CLUSTER_STATE", "ETCD_INITIAL_CLUSTER_TOKEN"}
)


@dataclass(frozen=True)
class Settings:
    """Groups of variables in the order in which etcd.conf has them; values are plain strings."""

    heading: str
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    def variables(self) -> dict[str, str]:
        return {name: value for _, group in self.groups for name, value in group}


def settings_of(
    spec: Spec, host: HostSpec, layout: Layout, token: str, *, peer_common_name: str | None, trust: str
) -> Settings:
    """`trust` is a fingerprint of the CA files: etcd reads them only at start (rule 14), so a changed CA must
    show as a changed setting."""
    groups = (
        ("Member", _member(spec, host, layout)),
        ("Clustering", _clustering(spec, host, token)),
        ("Security", _security(spec.version, layout, peer_common_name, trust)),
        ("Timing, size and corruption checks", _tuning(spec)),
        ("From `etcd.extra` in cluster.yaml", _extra(spec)),
    )
    heading = (
        f"# Member {host.name} of cluster {spec.name}, written by etcdup.\n"
        "# Edit cluster.yaml rather than this file: `etcdup plan` shows every difference."
    )
    return Settings(heading, tuple((title, values) for title, values in groups if values))


def show_settings(settings: Settings) -> str:
    """etcd.conf's text; systemd's EnvironmentFile and sh both read it."""
    parts = [settings.heading + "\n"]
    for title, values in settings.groups:
        parts.append(f"\n# {title}\n")
        parts.extend(f'{name}="{value}"\n' for name, value in values)
    return "".join(parts)


def changed_variables(wanted: dict[str, str], running: dict[str, str]) -> tuple[str, ...]:
    """Names of the variables in which a running process differs from what is wanted, sorted.

    Only what etcd or etcdup would act on counts, not what systemd adds to the environment, nor what is read at the next
    start alone.
    """
    names = {name for name in (*wanted, *running) if name.startswith(("ETCD_", "ETCDUP_TRUST"))}
    return tuple(sorted(n for n in names - FIRST_START_ONLY if wanted.get(n) != running.get(n)))


def _member(spec: Spec, host: HostSpec, layout: Layout) -> tuple[tuple[str, str], ...]:
    listen = bracketed(host.listen_address or host.address)
    client = f"https://{listen}:{spec.client_port(host)}"
    # A local member shares 127.0.0.1 with its siblings; any other also serves clients on its own host (rule 85).
    alone = layout.supervisor == "systemd" and listen not in ("127.0.0.1", "0.0.0.0")  # noqa: S104
    loopback = f",https://127.0.0.1:{spec.client_port(host)}" if alone else ""
    metrics = "127.0.0.1" if layout.supervisor == "systemd" else listen
    values = [
        ("ETCD_NAME", host.name),
        ("ETCD_DATA_DIR", layout.data_dir),
        ("ETCD_LISTEN_PEER_URLS", f"https://{listen}:{spec.peer_port(host)}"),
        ("ETCD_LISTEN_CLIENT_URLS", client + loopback),
        ("ETCD_LISTEN_METRICS_URLS", f"http://{metrics}:{spec.metrics_port(host)}"),
    ]
    if layout.wal_dir:
        values.insert(2, ("ETCD_WAL_DIR", layout.wal_dir))
    return tuple(values)


def _clustering(spec: Spec, host: HostSpec, token: str) -> tuple[tuple[str, str], ...]:
    return (
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", spec.peer_url(host)),
        ("ETCD_ADVERTISE_CLIENT_URLS", spec.client_url(host)),
        ("ETCD_INITIAL_CLUSTER", spec.initial_cluster()),
        (MEMBERS_VARIABLE, fence_endpoints(spec)),
        ("ETCD_INITIAL_CLUSTER_TOKEN", token),
        ("ETCD_INITIAL_CLUSTER_STATE", "existing"),
    )


def _security(
    version: Version, layout: Layout, peer_common_name: str | None, trust: str
) -> tuple[tuple[str, str], ...]:
    values = [
        ("ETCD_CLIENT_CERT_AUTH", "true"),
        ("ETCD_TRUSTED_CA_FILE", layout.ca()),
        ("ETCD_CERT_FILE", layout.cert("server")),
        ("ETCD_KEY_FILE", layout.key("server")),
        ("ETCD_PEER_CLIENT_CERT_AUTH", "true"),
        ("ETCD_PEER_TRUSTED_CA_FILE", layout.ca("peer")),
        ("ETCD_PEER_CERT_FILE", layout.cert("peer")),
        ("ETCD_PEER_KEY_FILE", layout.key("peer")),
    ]
    if peer_common_name:
        # One CA signs clients and peers; this keeps a client's certificate from speaking raft (rule 20).
        values.append(("ETCD_PEER_CERT_ALLOWED_CN", peer_common_name))
    if version.series > (3, 5) or version >= (3, 5, 8) or (3, 4, 25) <= version < (3, 5, 0):
        values.append(("ETCD_TLS_MIN_VERSION", "TLS1.2"))  # rule 24
    values.append(("ETCDUP_TRUST", trust))
    return tuple(values)


def _tuning(spec: Spec) -> tuple[tuple[str, str], ...]:
    etcd = spec.etcd
    values = [
        ("ETCD_HEARTBEAT_INTERVAL", str(etcd.heartbeat_ms)),
        ("ETCD_ELECTION_TIMEOUT", str(etcd.election_ms)),
        ("ETCD_QUOTA_BACKEND_BYTES", str(etcd.quota)),
        ("ETCD_SNAPSHOT_COUNT", "10000"),  # rule 78
        *_by_minor(spec.version),
    ]
    if etcd.auto_compaction:
        values.append(("ETCD_AUTO_COMPACTION_MODE", "periodic"))
        values.append(("ETCD_AUTO_COMPACTION_RETENTION", _go_duration(etcd.auto_compaction)))
    return tuple(values)


def _by_minor(version: Version) -> list[tuple[str, str]]:
    """Corruption checks (rule 80), progress notices for watches (rule 101), and 3.4's weaker defaults (rule 87)."""
    if version.series <= (3, 4):
        return [
            ("ETCD_LOGGER", "zap"),
            ("ETCD_PRE_VOTE", "true"),
            ("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true"),
        ]
    if version.series == (3, 5):
        checks = [("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true")]
        if version >= (3, 5, 5):
            checks.append(("ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED", "true"))
        return [*checks, ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s")]
    return [
        ("ETCD_FEATURE_GATES", "InitialCorruptCheck=true,CompactHashCheck=true"),
        ("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s"),
    ]


def _extra(spec: Spec) -> tuple[tuple[str, str], ...]:
    return tuple((_variable(flag), _plain(value)) for flag, value in sorted(spec.etcd.extra.items()))


def _variable(flag: str) -> str:
    """A flag's variable, by etcd's own rule: `snapshot-count` is ETCD_SNAPSHOT_COUNT."""
    return "ETCD_" + flag.upper().replace("-", "_")


def _plain(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _go_duration(seconds: int) -> str:
    """Seconds as Go writes a duration, without zero parts: `8h`, `1h30m`, `45s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
