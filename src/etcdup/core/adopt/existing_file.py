"""Whether a cluster.yaml that exists describes the inspected cluster, so that an adoption can use it as it is."""

from typing import Any

from etcdup.core.spec.model import Spec

# How etcdup reaches a host and etcd, and what it does there, is for the operator to choose.
_FREE_HOST_KEYS = {"ssh_address", "zone"}
_FREE_ETCD_KEYS = {"access"}


def differing_keys(existing: Spec, drafted: Spec) -> tuple[str, ...]:
    """Return the keys of the file that differ from the draft. The sections `ssh`, `install` and `backup` are free."""
    there, wanted = _facts(existing), _facts(drafted)
    return tuple(key for key, value in wanted.items() if there[key] != value)


def _facts(spec: Spec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "version": spec.version,
        "hosts": [host.model_dump(exclude=_FREE_HOST_KEYS) for host in spec.hosts],
        "etcd": spec.etcd.model_dump(exclude=_FREE_ETCD_KEYS),
        "tls.mode": spec.tls.mode,
        "tls.client_auth": spec.tls.client_auth,
    }
