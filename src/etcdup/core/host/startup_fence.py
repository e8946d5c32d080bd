"""The fence on the hosts themselves: old members that come back together must not be the old cluster again (rule 65).

A cluster that took another one's place keeps a key for each token of before. A member that starts asks those that were
its others for the key of its own token, and is not started where one of them has it. It asks by mutual TLS, and by
reads that need no quorum. Whatever else comes of it (no answer in time, another CA, etcd's own users), etcd starts: a
power cut of all hosts must never be made worse by a fence.
"""

from datetime import datetime

from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import Spec

FENCE_PREFIX = "etcdup/superseded/"
# All members' client URLs, in each etcd.conf; etcd itself has no variable of that name.
MEMBERS_VARIABLE = "ETCDUP_MEMBERS"
# An answer takes some hundredths of a second. On one machine none is late.
FENCE_TIMEOUT_S = {"systemd": 3, "process": 1}


def superseded_key(token: str) -> bytes:
    return f"{FENCE_PREFIX}{token}".encode()


def superseded_value(hosts: tuple[str, ...], token: str, at: datetime) -> bytes:
    """What the key says: the old member's own log tells it to whoever wonders why it stays down."""
    return f"it went on from {', '.join(hosts)} as {token} on {at:%Y-%m-%d %H:%M} UTC".encode()


def fence_endpoints(spec: Spec) -> str:
    return " ".join(spec.client_url(host) for host in spec.hosts)


def former_tokens(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Of all clusters whose place the one with this token takes, as the marks of its hosts say."""
    marks = [seen.marker for host in spec.hosts if (seen := observed.reachable().get(host.name))]
    known = [mark.former(token) for mark in marks if mark is not None and mark.cluster == spec.name]
    return tuple(dict.fromkeys(each for tokens in known for each in tokens))


def fence_command(layout: Layout) -> str:
    """One command of sh over several lines, which ends with 1 where this member is of the past. All others are asked at
    once: one that does not answer costs the whole time, but no more. Without a single quote, for a unit's sake."""
    return _FENCE_SCRIPT.format(
        join=layout.join,
        vouched=layout.fence_disabled,
        seconds=FENCE_TIMEOUT_S[layout.supervisor],
        current=layout.current,
        ca=layout.ca(),
        cert=layout.cert("health"),
        key=layout.key("health"),
        prefix=FENCE_PREFIX,
        members=MEMBERS_VARIABLE,
    )


_FENCE_SCRIPT = r"""test -e {join} || test -e {vouched} || {{ \
set -f; asked= found= key="{prefix}${{ETCD_INITIAL_CLUSTER_TOKEN-}}"; \
for url in ${{{members}-}}; do test "$url" != "$ETCD_ADVERTISE_CLIENT_URLS" && ( \
word=$(timeout {seconds} {current}/etcdctl --endpoints="$url" --cacert={ca} --cert={cert} --key={key} \
get "$key" --consistency=s --print-value-only 2>/dev/null) && test -n "$word" && \
echo "etcd is not started: the cluster of its data was superseded: $word, says the key $key of $url." >&2 && \
echo "Run etcdup apply: it moves the data aside and lets this host join." >&2 \
) & asked="$asked $!"; done; \
for each in $asked; do wait "$each" && found=yes; done; test -z "$found"; }}"""
