"""The common names of certificates, derived from the names of cluster and member."""

from hashlib import sha256

from etcdup.core.spec.model import Spec

COMMON_NAME_LIMIT = 64  # RFC 5280, ub-common-name


def peer_common_name(spec: Spec) -> str:
    """Return the common name of all peer certificates. Members accept only this name from peers.

    See `--peer-cert-allowed-cn` of etcd.
    """
    return common_name(spec.name, "peer")


def common_name(cluster: str, what: str) -> str:
    """Return `etcdup:CLUSTER:WHAT`, shortened to 64 characters.

    The name of a client has the form of a host name, without colons. So it can never equal this name.
    """
    full = f"etcdup:{cluster}:{what}"
    if len(full) <= COMMON_NAME_LIMIT:
        return full
    digest = sha256(cluster.encode()).hexdigest()[:8]
    cluster_length = COMMON_NAME_LIMIT - len(f"etcdup:-{digest}:{what}")
    return f"etcdup:{cluster[:cluster_length]}-{digest}:{what}"
