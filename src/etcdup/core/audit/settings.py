"""Findings about the settings of a running etcd: CIS 2.1-2.7 and 1.1.11-12, and dangerous flags (rules 84-86).

The settings are those of the process. A file on the host may be newer than the process, so it is not used.
"""

from collections.abc import Iterator, Mapping

from etcdup.core.audit.findings import FileRights, Finding, HostInspection, as_sentence
from etcdup.core.audit.process_settings import is_on, urls_of

_ANYONE = "Each program that reaches the port can read and write all keys."
_ANY_PEER = "Each program that reaches the port can send raft messages, and so change all data."
_PLAIN_CLIENTS = "Clients send keys, values and passwords as plain text."
_PLAIN_PEERS = "Members send all data to each other as plain text."
_UNVERIFIED = "etcd makes its own certificate, which no client or peer can verify."
_APPLY = "`etcdup apply` does this on a cluster that etcdup set up."
_ROLL = "restart one member after the other. " + _APPLY
# A member that requires a certificate rejects clients and peers that have none.
_FIRST = "First give all clients and peers a certificate. Then "
# After a restart with https, the other members still connect with http (rule 22).
SECOND_PORT = (
    "change one member after the other to https by a second port: `From plain http to https` in "
    "docs/guides/adopt.md has the commands"
)
# A member with peer-trusted-ca-file rejects members with peer-auto-tls, so restarts in turn would lose the quorum.
PEER_CERTIFICATES = (
    "give each member a certificate of one CA, and restart all members in turn, twice: `From peer-auto-tls to a CA` in "
    "docs/guides/adopt.md has the settings"
)

# Code, CIS control, flag that must be set, what it is, why it matters.
_NEEDED = (
    ("client-tls-missing", "2.1", "cert-file", "a certificate for the client port", _PLAIN_CLIENTS),
    ("client-tls-missing", "2.1", "key-file", "the key of the client port", _PLAIN_CLIENTS),
    ("peer-tls-missing", "2.4", "peer-cert-file", "a certificate for the peer port", _PLAIN_PEERS),
    ("peer-tls-missing", "2.4", "peer-key-file", "the key of the peer port", _PLAIN_PEERS),
    (
        "client-ca-missing",
        "2.7",
        "trusted-ca-file",
        "a CA for clients",
        "etcd then trusts each CA that the operating system trusts.",
    ),
)
_ON = (
    ("client-certificates-optional", "2.2", "client-cert-auth", _ANYONE, 21),
    ("peer-certificates-optional", "2.5", "peer-client-cert-auth", _ANY_PEER, 21),
)
_OFF = (
    ("auto-tls-on", "2.3", "auto-tls", _UNVERIFIED, 21),
    ("peer-auto-tls-on", "2.6", "peer-auto-tls", _UNVERIFIED, 21),
    ("fsync-off", "", "unsafe-no-fsync", "A power failure loses acknowledged writes.", 86),
    (
        "force-new-cluster-set",
        "",
        "force-new-cluster",
        "The next restart removes all other members from the cluster.",
        86,
    ),
    ("v2-api-on", "", "enable-v2", "An upgrade to 3.6 is not possible while v2 data exists.", 86),
    ("debug-pages-on", "", "enable-pprof", "Each client can read internal data of the process.", 85),
)

# Code, the URLs that must use https, rule.
_TLS_ONLY = (
    ("client-port-without-tls", "listen-client-urls", 85),
    ("peer-port-without-tls", "listen-peer-urls", 22),
)


def settings_findings(inspection: HostInspection) -> Iterator[Finding]:
    """Return all findings about the settings of the etcd on this host; none if no etcd runs."""
    settings, host = inspection.settings, inspection.host
    if not settings:
        return
    if "config-file" in settings:
        yield Finding(
            "untried",
            host,
            f"etcd reads its settings from {settings['config-file']} only.",
            "etcdup reads the settings of the process, and cannot check that file.",
            "Check the file by hand, or use flags or variables.",
            (10,),
            code="config-file-not-read",
        )
        return
    yield from _tls_findings(host, settings)
    yield from _listen_findings(host, settings)
    yield from _shared_identity_findings(host, settings)
    yield from _rights_findings(inspection)


def _tls_findings(host: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    for code, cis, flag, what, why in _NEEDED:
        if not settings.get(flag):
            yield Finding(
                "wrong",
                host,
                f"etcd runs without {what} ({flag}).",
                why,
                as_sentence(SECOND_PORT) if code == "peer-tls-missing" else f"{_FIRST}set {flag} and {_ROLL}",
                (84,),
                cis,
                code=code,
            )
    for code, cis, flag, why, rule in _ON:
        if not is_on(settings, flag):
            yield Finding(
                "wrong",
                host,
                f"etcd runs without {flag}.",
                why,
                f"{_FIRST}set {flag}=true and {_ROLL}",
                (rule,),
                cis,
                code=code,
            )
    for code, cis, flag, why, rule in _OFF:
        if is_on(settings, flag):
            yield Finding(
                "wrong",
                host,
                f"etcd runs with {flag}.",
                why,
                _fix_of_set(flag),
                (rule,),
                cis,
                code=code,
            )
    if settings.get("strict-reconfig-check") == "false":
        yield Finding(
            "wrong",
            host,
            "etcd runs with strict-reconfig-check=false.",
            "A wrong change of members can lose the quorum.",
            f"Remove strict-reconfig-check and {_ROLL}",
            (86,),
            code="strict-reconfig-check-off",
        )


def _fix_of_set(flag: str) -> str:
    """Return how to remove a flag that must not be set."""
    if flag == "peer-auto-tls":
        return as_sentence(PEER_CERTIFICATES)
    return f"{_FIRST}remove {flag} and {_ROLL}" if "tls" in flag else f"Remove {flag} and {_ROLL}"


def _listen_findings(host: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    for code, flag, rule in _TLS_ONLY:
        for url in urls_of(settings, flag):
            if url.startswith("http://"):
                yield Finding(
                    "wrong",
                    host,
                    f"etcd serves plain http on {url.removeprefix('http://')}.",
                    "A program that reaches the port needs no certificate. "
                    "A container in the network of the host can reach it.",
                    as_sentence(SECOND_PORT)
                    if "peer" in flag
                    else f"{_FIRST}write https:// in {flag} and {_ROLL}",
                    (rule,),
                    code=code,
                )
    for url in urls_of(settings, "listen-metrics-urls"):
        if url.startswith("http://") and not url.startswith(
            ("http://127.", "http://[::1]", "http://localhost")
        ):
            yield Finding(
                "advice",
                host,
                f"etcd shows metrics and health on {url} without a certificate.",
                "A program that reaches the port can read them.",
                "Use 127.0.0.1 or an address in a management network.",
                (85,),
                code="metrics-public",
            )


def _shared_identity_findings(host: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    key = settings.get("key-file")
    if key and key == settings.get("peer-key-file"):
        yield Finding(
            "advice",
            host,
            f"Clients and peers are served with one key: {key}.",
            "An attacker with the key of one port can act as both.",
            "Issue one certificate and key for each purpose.",
            (20,),
            code="key-shared-by-roles",
        )
    same_ca = settings.get("trusted-ca-file") and settings.get("trusted-ca-file") == settings.get(
        "peer-trusted-ca-file"
    )
    named = settings.get("peer-cert-allowed-cn") or settings.get("peer-cert-allowed-hostname")
    if same_ca and not named:
        yield Finding(
            "advice",
            host,
            "One CA signs clients and peers, and etcd does not check the name of a peer certificate.",
            "A client can send raft messages, and so change all data.",
            "Set peer-cert-allowed-cn, or use a CA of its own for peers.",
            (20,),
            code="ca-shared-by-roles",
        )


def _rights_findings(inspection: HostInspection) -> Iterator[Finding]:
    for flag in ("data-dir", "wal-dir"):  # the log contains secrets too, until etcd deletes its old files
        folder = inspection.rights.get(inspection.settings.get(flag, ""))
        if folder is not None:
            yield from _data_rights_findings(inspection.host, folder)
    for flag in ("key-file", "peer-key-file"):
        key = inspection.rights.get(inspection.settings.get(flag, ""))
        if key is not None and key.mode & 0o077:
            yield Finding(
                "wrong",
                inspection.host,
                f"{key.path} has mode {key.mode:04o}.",
                "A user who can read the key can act as this member.",
                f"Run `chmod 600 {key.path}` on {inspection.host}.",
                (24,),
                code="key-readable",
            )


def _data_rights_findings(host: str, data: FileRights) -> Iterator[Finding]:
    if data.mode & 0o077:
        why = "A user who can read the database can read each secret in it."
        yield Finding(
            "wrong",
            host,
            f"{data.path} has mode {data.mode:04o}.",
            why,
            f"Run `chmod 700 {data.path}` on {host}.",
            (84,),
            "1.1.11",
            code="data-readable",
        )
    if data.owner.startswith("root:"):
        yield Finding(
            "wrong",
            host,
            f"{data.path} belongs to {data.owner}.",
            "etcd runs as root. A security hole in etcd then gives access to the whole host.",
            f"Run etcd as its own user, and run `chown -R etcd:etcd {data.path}` while etcd is stopped.",
            (84,),
            "1.1.12",
            code="data-owned-by-root",
        )
    elif data.owner != "etcd:etcd":
        yield Finding(
            "advice",
            host,
            f"{data.path} belongs to {data.owner}, not to etcd:etcd.",
            "Other programs of that user or group may read each secret in it.",
            "Check that no other program runs as that user. Otherwise run etcd as the user etcd, and run "
            f"`chown -R etcd:etcd {data.path}` while etcd is stopped.",
            (84,),
            "1.1.12",
            code="data-owner",
        )
