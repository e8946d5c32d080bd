"""Common names of certificates: how they follow from the cluster's and the member's name."""

from hashlib import sha256

from etcdup.core.spec.model import Spec

COMMON_NAME_LIMIT = 64  # RFC 5280, ub-common-name


def peer_common_name(spec: Spec) -> str:
    """What every peer certificate is called, and what members admit as peers (`peer-cert-allowed-cn`)."""
    return common_name(spec.name, "peer")


def common_name(cluster: str, what: str) -> str:
    """`etcdup:CLUSTER:WHAT`. The colons keep it out of reach of a client's name, which is a host name."""
    full = f"etcdup:{cluster}:{what}"
    if len(full) <= COMMON_NAME_LIMIT:
        return full
    digest = sha256(cluster.encode()).hexdigest()[:8]
    room = COMMON_NAME_LIMIT - len(f"etcdup:-{digest}:{what}")
    return f"etcdup:{cluster[:room]}-{digest}:{what}"
