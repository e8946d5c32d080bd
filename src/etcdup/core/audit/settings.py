"""A running etcd's settings, judged: CIS 2.1-2.7 and 1.1.11-12, and what must never be set (rules 84-86).

The judgement is of what the process runs with, never of a file that it may not have read.
"""

from collections.abc import Iterator, Mapping

from etcdup.core.audit.findings import FileRights, Finding, HostInspection
from etcdup.core.audit.process_settings import is_on, urls_of

_ANYONE = "anyone who reaches the port reads and writes every key"
_ANY_PEER = "anyone who reaches the port can speak raft, and so write what they like"
_ROLL = (
    "set it and restart one member after the other; `etcdup apply` does so on a cluster that etcdup set up"
)

# Code, CIS control, flag that must be there, what it is for, why it matters.
_NEEDED = (
    (
        "client-tls-missing",
        "2.1",
        "cert-file",
        "a certificate for clients",
        "clients speak to it in plain text",
    ),
    (
        "client-tls-missing",
        "2.1",
        "key-file",
        "the key of the clients' certificate",
        "clients speak to it in plain text",
    ),
    (
        "peer-tls-missing",
        "2.4",
        "peer-cert-file",
        "a certificate for peers",
        "members speak to each other in plain text",
    ),
    (
        "peer-tls-missing",
        "2.4",
        "peer-key-file",
        "the key of the peers' certificate",
        "members speak to each other in plain text",
    ),
    (
        "client-ca-missing",
        "2.7",
        "trusted-ca-file",
        "a CA of its own for clients",
        "it trusts whoever the system trusts",
    ),
)
_ON = (
    ("client-certificates-optional", "2.2", "client-cert-auth", _ANYONE, 21),
    ("peer-certificates-optional", "2.5", "peer-client-cert-auth", _ANY_PEER, 21),
)
_OFF = (
    ("auto-tls-on", "2.3", "auto-tls", "it makes up its own certificate, which nobody can verify", 21),
    (
        "peer-auto-tls-on",
        "2.6",
        "peer-auto-tls",
        "it makes up its own certificate, which nobody can verify",
        21,
    ),
    ("fsync-off", "", "unsafe-no-fsync", "a power cut loses acknowledged writes", 86),
    ("force-new-cluster-set", "", "force-new-cluster", "the next restart throws every other member out", 86),
    ("v2-api-on", "", "enable-v2", "it keeps the cluster from 3.6", 86),
    ("debug-pages-on", "", "enable-pprof", "its debug pages are open to every client", 85),
)

# Code, the URLs that must use https, rule.
_TLS_ONLY = (
    ("client-port-without-tls", "listen-client-urls", 85),
    ("peer-port-without-tls", "listen-peer-urls", 22),
)


def settings_findings(closer: HostInspection) -> Iterator[Finding]:
    """Everything wrong with how this host's etcd runs; nothing where none runs."""
    settings, host = closer.settings, closer.host
    if not settings:
        return
    if "config-file" in settings:
        yield Finding(
            "untried", host, f"etcd reads {settings['config-file']}, and nothing else",
            "its settings cannot be asked of the process", "judge that file by hand, or use flags or variables",
            (10,), code="config-file-not-read",
        )  # fmt: skip
        return
    yield from _tls_findings(host, settings)
    yield from _listen_findings(host, settings)
    yield from _shared_identity_findings(host, settings)
    yield from _rights_findings(closer)


def _tls_findings(host: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    for code, cis, flag, what, why in _NEEDED:
        if not settings.get(flag):
            yield Finding(
                "wrong", host, f"etcd runs without {what} ({flag})", why, _ROLL, (84,), cis, code=code
            )
    for code, cis, flag, why, rule in _ON:
        if not is_on(settings, flag):
            yield Finding("wrong", host, f"etcd runs without {flag}", why, _ROLL, (rule,), cis, code=code)
    for code, cis, flag, why, rule in _OFF:
        if is_on(settings, flag):
            yield Finding(
                "wrong",
                host,
                f"etcd runs with {flag}",
                why,
                f"take {flag} away: {_ROLL}",
                (rule,),
                cis,
                code=code,
            )
    if settings.get("strict-reconfig-check") == "false":
        yield Finding(
            "wrong", host, "etcd runs with strict-reconfig-check=false",
            "a wrong change of members can take the quorum", f"take it away: {_ROLL}", (86,),
            code="strict-reconfig-check-off",
        )  # fmt: skip


def _listen_findings(host: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    for code, flag, rule in _TLS_ONLY:
        for url in urls_of(settings, flag):
            if url.startswith("http://"):
                yield Finding(
                    "wrong", host, f"etcd serves plain http on {url.removeprefix('http://')}",
                    "whoever gets there, a container with the host's network too, needs no certificate at all",
                    f"write https:// in {flag}: {_ROLL}", (rule,), code=code,
                )  # fmt: skip
    for url in urls_of(settings, "listen-metrics-urls"):
        if url.startswith("http://") and not url.startswith(
            ("http://127.", "http://[::1]", "http://localhost")
        ):
            yield Finding(
                "advice", host, f"etcd shows metrics and health on {url}, without a certificate",
                "anyone who reaches that port sees them", "bind it to 127.0.0.1 or a management network", (85,),
                code="metrics-public",
            )  # fmt: skip


def _shared_identity_findings(host: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    key = settings.get("key-file")
    if key and key == settings.get("peer-key-file"):
        yield Finding(
            "advice", host, f"one key serves clients and peers: {key}",
            "who has it for one purpose has it for both", "issue a pair for each purpose", (20,),
            code="key-shared-by-roles",
        )  # fmt: skip
    same_ca = settings.get("trusted-ca-file") and settings.get("trusted-ca-file") == settings.get(
        "peer-trusted-ca-file"
    )
    named = settings.get("peer-cert-allowed-cn") or settings.get("peer-cert-allowed-hostname")
    if same_ca and not named:
        yield Finding(
            "advice", host, "one CA signs clients and peers, and peers are not told from clients by name",
            "any client's certificate can speak raft", "set peer-cert-allowed-cn, or give peers a CA of their own",
            (20,), code="ca-shared-by-roles",
        )  # fmt: skip


def _rights_findings(closer: HostInspection) -> Iterator[Finding]:
    for flag in ("data-dir", "wal-dir"):  # the log has every secret too, for a while
        folder = closer.rights.get(closer.settings.get(flag, ""))
        if folder is not None:
            yield from _data_rights_findings(closer.host, folder)
    for flag in ("key-file", "peer-key-file"):
        key = closer.rights.get(closer.settings.get(flag, ""))
        if key is not None and key.mode & 0o077:
            yield Finding(
                "wrong", closer.host, f"{key.path} has mode {key.mode:04o}",
                "whoever reads the key can pose as this member", f"chmod 600 {key.path}", (24,), code="key-readable",
            )  # fmt: skip


def _data_rights_findings(host: str, data: FileRights) -> Iterator[Finding]:
    if data.mode & 0o077:
        why = "whoever reads the database reads every secret in it"
        yield Finding(
            "wrong",
            host,
            f"{data.path} has mode {data.mode:04o}",
            why,
            f"chmod 700 {data.path}",
            (84,),
            "1.1.11",
            code="data-readable",
        )
    if data.owner.startswith("root:"):
        yield Finding(
            "wrong", host, f"{data.path} belongs to {data.owner}", "etcd runs as root, and a hole in it is one in all",
            "run etcd as a user of its own, and give it the folder: `chown -R etcd:etcd`", (84,), "1.1.12",
            code="data-owned-by-root",
        )  # fmt: skip
    elif data.owner != "etcd:etcd":
        yield Finding(
            "advice", host, f"{data.path} belongs to {data.owner}, not to etcd:etcd",
            "whoever else is that user or in that group may come at every secret in it",
            "see that nothing else runs as that user, or run etcd as `etcd` and `chown -R etcd:etcd`", (84,), "1.1.12",
            code="data-owner",
        )  # fmt: skip
