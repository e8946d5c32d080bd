"""The startup fence: it keeps the members of a superseded cluster stopped, so they cannot form it again (rule 65).

A restored cluster has a key for each token of a superseded cluster. Before etcd starts, the unit reads the key of its
own token from all other members that its etcd.conf lists. If one of them has the key, etcd is not started. The reads
use mutual TLS and need no quorum. In all other cases (no answer in time, another CA, user authentication) etcd starts,
because the fence must not keep a valid cluster down after a power failure of all hosts.
"""

from datetime import datetime

from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import Layout
from etcdup.core.spec.model import Spec
from etcdup.core.spec.plain_value import words

FENCE_PREFIX = "etcdup/superseded/"
# The client URLs of all members, in each etcd.conf. etcd does not use this variable.
MEMBERS_VARIABLE = "ETCDUP_MEMBERS"
# An answer takes about 0.01 to 0.1 seconds, and even less between local members.
FENCE_TIMEOUT_S = {"systemd": 3, "process": 1}


def superseded_key(token: str) -> bytes:
    """Return the key that says that the cluster with this token is superseded."""
    return f"{FENCE_PREFIX}{token}".encode()


def superseded_value(hosts: tuple[str, ...], token: str, at: datetime) -> bytes:
    """Return the value of the key. The log of the stopped member shows it, to say which cluster superseded its own."""
    return f"it continues as {token} on {', '.join(hosts)} since {at:%Y-%m-%dT%H:%MZ}".encode()


def fence_endpoints(spec: Spec) -> str:
    """Return the client URLs that the fence reads from, separated by spaces."""
    return " ".join(spec.client_url(host) for host in spec.hosts)


def former_tokens(spec: Spec, observed: Observed, token: str) -> tuple[str, ...]:
    """Return the tokens of all clusters that the cluster with this token supersedes, from the markers of its hosts."""
    reachable = observed.reachable()
    markers = [reachable[host.name].marker_of(spec.name) for host in spec.hosts if host.name in reachable]
    found = [marker.former(token) for marker in markers if marker is not None]
    return tuple(dict.fromkeys(each for tokens in found for each in tokens))


def fence_command(layout: Layout) -> str:
    """Return a shell command, over several lines, that exits with 1 if the member's cluster is superseded.

    It reads from all other members at the same time, so members that do not answer cost the timeout only once. It has
    no single quote, because the unit puts it in single quotes.
    """
    paths = words(
        join=layout.join,
        disabled=layout.fence_disabled,
        current=layout.current,
        ca=layout.ca(),
        cert=layout.cert("health"),
        key=layout.key("health"),
    )
    return _FENCE_SCRIPT.format(
        **paths, seconds=FENCE_TIMEOUT_S[layout.supervisor], prefix=FENCE_PREFIX, members=MEMBERS_VARIABLE
    )


_FENCE_SCRIPT = r"""test -e {join} || test -e {disabled} || {{ \
set -f; asked= found= key="{prefix}${{ETCD_INITIAL_CLUSTER_TOKEN-}}"; \
for url in ${{{members}-}}; do test "$url" != "$ETCD_ADVERTISE_CLIENT_URLS" && ( \
word=$(timeout {seconds} env -i {current}/etcdctl --endpoints="$url" --cacert={ca} --cert={cert} --key={key} \
get "$key" --consistency=s --print-value-only 2>/dev/null) && test -n "$word" && \
echo "etcd is not started: the cluster of its data was superseded: $word (key $key of $url)." >&2 && \
echo "Run etcdup apply: it archives the data and adds this host to the new cluster." >&2 \
) & asked="$asked $!"; done; \
for each in $asked; do wait "$each" && found=yes; done; test -z "$found"; }}"""
