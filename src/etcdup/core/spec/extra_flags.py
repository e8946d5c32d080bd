"""Decide which flags of etcd are allowed in `etcd.extra`, and say why the others are not."""

import re

from etcdup.core.spec.plain_value import is_plain

_FLAG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_VALUE_HINT = "remove quotes, `\\`, `$`, `%`, back-quotes and control characters"

# Flags that etcdup sets, each with the key to use instead. A second value could contradict the first.
_PORTS = "use `address`, `listen_address`, `client_port` and `peer_port`"
_MEMBERSHIP = "remove it; etcdup derives it from `hosts` and from the state of the hosts"  # rules 4, 7
_FILES = "use the keys below `tls:`"
_REVOCATION = "use `etcdup certs revoke`; with `mode: provided`, use `crl_file` below `tls:`"
_OWNED = {
    "name": "use `name` of the host",
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
    "client-cert-auth": "use `client_auth` below `tls:`",
    "client-crl-file": _REVOCATION,
    "peer-crl-file": _REVOCATION,
    "quota-backend-bytes": "use `quota` below `etcd:`",
    "heartbeat-interval": "use `heartbeat_ms` below `etcd:`",
    "election-timeout": "use `election_ms` below `etcd:`",
    "auto-compaction-mode": "use `auto_compaction` below `etcd:`",
    "auto-compaction-retention": "use `auto_compaction` below `etcd:`",
}

# Flags that are unsafe with every value.
_NO_LEGACY = "it enables the v2 store, and a member with v2 data cannot be upgraded to 3.6"  # rule 86
_MUTUAL_TLS = "etcdup always requires a certificate from peers"  # rule 21
_SELF_SIGNED = "it makes etcd use self-signed certificates, which cannot be verified"  # rule 21
_NO_DISCOVERY = "etcdup does not use discovery; it takes the members from `hosts`"  # rule 9
_REFUSED = {
    "unsafe-no-fsync": "a power failure would lose writes that etcd has acknowledged",  # rule 86
    "force-new-cluster": "in the configuration, it would split the cluster at the next restart",  # rule 86
    "enable-v2": _NO_LEGACY,
    "experimental-enable-v2v3": _NO_LEGACY,
    "v2-deprecation": _NO_LEGACY,
    "auto-tls": _SELF_SIGNED,
    "peer-auto-tls": _SELF_SIGNED,
    "peer-client-cert-auth": _MUTUAL_TLS,
    "config-file": "with it, etcd ignores all other settings",  # rule 10
    "proxy": "a proxy is not a member of the cluster",
    # https://github.com/etcd-io/etcd/security/advisories/GHSA-3wh4-j44w-pg92
    "listen-client-http-urls": "with it, etcd can accept revoked certificates (GHSA-3wh4-j44w-pg92)",
    "discovery": _NO_DISCOVERY,
    "discovery-srv": _NO_DISCOVERY,
    "discovery-token": _NO_DISCOVERY,
    "discovery-endpoints": _NO_DISCOVERY,
}

# Flags that are safe with some values only: the unsafe values, and why they are unsafe.
_REFUSED_VALUES = {
    "strict-reconfig-check": ("false", "etcd would accept member changes that lose the quorum"),  # rule 86
    "tls-min-version": ("tls1.0 tls1.1", "TLS below 1.2 is insecure"),  # rule 24
}

# Parts of the names of cipher suites that are broken, or that give no forward secrecy. TLS 1.3 has none of them.
_WEAK_SUITE = re.compile(
    r"(?:^|,) *(TLS_RSA_\w+|\w*_(?:3DES|RC4|CBC)_\w+) *(?:,|$)", re.ASCII | re.IGNORECASE
)

# Flags that are allowed with a warning: the values that have a risk, and the risk.
_RISKY = {
    "enable-pprof": ("true", "lets every client read etcd's runtime profiles"),  # rule 85
    "peer-skip-client-san-verification": (
        "true",
        "lets a host with any certificate of the CA act as any peer",  # rule 18
    ),
    "experimental-peer-skip-client-san-verification": (
        "true",
        "lets any peer act as another peer",  # rule 18
    ),
    "bcrypt-cost": ("4 5 6 7 8 9", "makes the passwords of users in a stolen database easier to guess"),
    "pre-vote": ("false", "lets a member that reconnects disrupt a healthy leader"),  # rule 87
    "initial-corrupt-check": ("false", "lets a member with corrupt data start"),  # rule 80
    "experimental-initial-corrupt-check": ("false", "lets a member with corrupt data start"),  # rule 80
}


def flag_refusal(flag: str, value: object) -> tuple[str, str] | None:
    """Return why this flag or value is not allowed in `extra`, and a hint. Return None if it is allowed."""
    bare = flag.lstrip("-").lower().replace("_", "-").removeprefix("etcd-")
    if bare in _OWNED:
        return f"`{flag}` is not allowed in `extra`: etcdup sets it", _OWNED[bare]
    if bare in _REFUSED:
        return f"`{flag}` is not allowed in `extra`: {_REFUSED[bare]}", f"remove `{flag}`"
    unsafe, why = _REFUSED_VALUES.get(bare, ("", ""))
    if unsafe and _text(value) in unsafe.split():
        return f"`{flag}: {_text(value)}` is not allowed in `extra`: {why}", f"remove `{flag}`"
    if bare == "cipher-suites" and (weak := _WEAK_SUITE.search(str(value))):
        return (
            f"`{weak[1]}` is not allowed in `extra`: the cipher suite is weak",
            "use suites that begin with TLS_ECDHE_ and have GCM or CHACHA20",
        )
    if not str(value).strip():
        return f"`{flag}` has no value", "write a value, or remove the flag"
    if not is_plain(str(value)):
        return f"the value of `{flag}` has a character that is not allowed in etcd.conf", _VALUE_HINT
    if bare != flag:
        return f"`{flag}` has the wrong form for a flag in `extra`", f"write `{bare}`"
    if not _FLAG.fullmatch(flag):
        return f"`{flag}` is not a flag of etcd", "write flags as `etcd --help` lists them, without `--`"
    return None


def flag_warning(flag: str, value: object) -> str | None:
    """Return the risk of an allowed flag with this value, or None if there is no known risk."""
    risky, risk = _RISKY.get(flag, ("", ""))
    return f"extra: `{flag}: {_text(value)}` {risk}" if _text(value) in risky.split() else None


def _text(value: object) -> str:
    return str(value).lower()
