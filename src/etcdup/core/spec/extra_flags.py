"""Which of etcd's flags may stand in `extra`, and why the others may not."""

import re

_FLAG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
# etcd.conf is read by systemd and by sh, with the value in double quotes.
_SETTING = re.compile(r"[^\x00-\x1f\x7f\"\\$`%]*")
_NO_QUOTES = 'leave out `"`, `\\`, `$`, `%`, back-quotes and line breaks'

# Flags that etcdup sets itself, and what to use instead. A second value would be a second truth.
_PORTS = "use `address`, `listen_address`, `client_port` and `peer_port`"
_MEMBERSHIP = "etcdup works this out from `hosts` and from what it finds on them"  # rules 4, 7
_FILES = "use the keys of `tls:`"
_OWNED = {
    "name": "use the host's `name`",
    "data-dir": "use `data_dir` below `etcd:`",
    "wal-dir": "use `wal_dir` below `etcd:`",
    "listen-client-urls": _PORTS,
    "listen-peer-urls": _PORTS,
    "advertise-client-urls": _PORTS,
    "initial-advertise-peer-urls": _PORTS,
    "listen-metrics-urls": "use `metrics_port` below `etcd:`",
    "initial-cluster": _MEMBERSHIP,
    "initial-cluster-state": _MEMBERSHIP,
    "initial-cluster-token": _MEMBERSHIP,
    "cert-file": _FILES,
    "key-file": _FILES,
    "trusted-ca-file": _FILES,
    "client-cert-file": _FILES,
    "client-key-file": _FILES,
    "peer-cert-file": _FILES,
    "peer-key-file": _FILES,
    "peer-trusted-ca-file": _FILES,
    "peer-client-cert-file": _FILES,
    "peer-client-key-file": _FILES,
    "quota-backend-bytes": "use `quota` below `etcd:`",
    "heartbeat-interval": "use `heartbeat_ms` below `etcd:`",
    "election-timeout": "use `election_ms` below `etcd:`",
    "auto-compaction-mode": "use `auto_compaction` below `etcd:`",
    "auto-compaction-retention": "use `auto_compaction` below `etcd:`",
}

# Flags that would break what etcdup promises, whatever their value.
_NO_LEGACY = "it keeps the old v2 store alive, and with it an upgrade to 3.6 is not possible"  # rule 86
_MUTUAL_TLS = "clients and peers must always show a certificate; etcdup sets this itself"  # rule 21
_SELF_SIGNED = "it accepts certificates that nobody vouches for"  # rule 21
_NO_DISCOVERY = "discovery is not used: the members are listed in `hosts`"  # rule 9
_REFUSED = {
    "unsafe-no-fsync": "a power cut would lose writes that etcd said were safe",  # rule 86
    "force-new-cluster": "left in the configuration it splits the cluster at the next restart",  # rule 86
    "enable-v2": _NO_LEGACY,
    "experimental-enable-v2v3": _NO_LEGACY,
    "v2-deprecation": _NO_LEGACY,
    "auto-tls": _SELF_SIGNED,
    "peer-auto-tls": _SELF_SIGNED,
    "client-cert-auth": _MUTUAL_TLS,
    "peer-client-cert-auth": _MUTUAL_TLS,
    "config-file": "with it etcd ignores every other setting",  # rule 10
    "proxy": "a proxy is not a member",
    "listen-client-http-urls": "revoked certificates would still be let in there (GHSA-3wh4-j44w-pg92)",
    "discovery": _NO_DISCOVERY,
    "discovery-srv": _NO_DISCOVERY,
    "discovery-token": _NO_DISCOVERY,
    "discovery-endpoints": _NO_DISCOVERY,
}

# Flags that are sound with one value and dangerous with another: the dangerous one, and why.
_REFUSED_VALUES = {
    "strict-reconfig-check": ("false", "etcd could then be talked into losing its quorum"),  # rule 86
    "tls-min-version": ("tls1.0 tls1.1", "TLS below 1.2 is broken"),  # rule 24
}

# Flags that work and that an operator should think about once more.
_DOUBTFUL = {
    "enable-pprof": ("true", "shows etcd's insides to every client"),  # rule 85
    "peer-skip-client-san-verification": (
        "true",
        "lets any certificate of the CA pose as any peer",  # rule 18
    ),
    "experimental-peer-skip-client-san-verification": ("true", "lets any peer pose as another"),  # rule 18
    "pre-vote": ("false", "lets a member that comes back disturb a healthy leader"),  # rule 87
    "initial-corrupt-check": ("false", "lets a member with damaged data start"),  # rule 80
    "experimental-initial-corrupt-check": ("false", "lets a member with damaged data start"),  # rule 80
}


def why_refused(flag: str, value: object) -> tuple[str, str] | None:
    """Why this flag may not stand in `extra`, with what to do instead; None if it may."""
    bare = flag.lstrip("-").lower().replace("_", "-").removeprefix("etcd-")
    if bare in _OWNED:
        return f"`{flag}` is set by etcdup itself", _OWNED[bare]
    if bare in _REFUSED:
        return f"`{flag}` is refused: {_REFUSED[bare]}", ""
    dangerous, why = _REFUSED_VALUES.get(bare, ("", ""))
    if dangerous and _text(value) in dangerous.split():
        return f"`{flag}: {_text(value)}` is refused: {why}", ""
    if not _SETTING.fullmatch(str(value)):
        return f"the value of `{flag}` holds a character that etcd.conf cannot", _NO_QUOTES
    if bare != flag:
        return f"`{flag}` is not how a flag is written here", f"write {bare}"
    if not _FLAG.fullmatch(flag):
        return f"`{flag}` is not a flag of etcd", "write flags as `etcd --help` lists them, without `--`"
    return None


def why_doubtful(flag: str, value: object) -> str | None:
    """What speaks against a flag that is allowed; None if nothing does."""
    doubtful, why = _DOUBTFUL.get(flag, ("", ""))
    return f"extra: `{flag}: {doubtful}` {why}" if doubtful and _text(value) == doubtful else None


def _text(value: object) -> str:
    return str(value).lower()
