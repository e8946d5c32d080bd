"""The data of `certs issue`, `forget`, `csr`, `renew` and `rotate-ca` for programs. Pure.

Within one `format`, keys may be added, but no key changes its meaning. There is no key material, only paths of keys.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etcdup.cli.views.health_view import member_json
from etcdup.core.certs.ca_rotation import RotationStage, consumers_of_old_ca, rotation_stage
from etcdup.core.certs.renewal import CertsToRenew
from etcdup.core.certs.required import desired_certs
from etcdup.core.observed.connections import Client
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.model import Spec
from etcdup.ops.certs.consumers import IssuedConsumer
from etcdup.ops.certs.proof import ServedCert
from etcdup.ops.world.health import Health


def consumer_json(
    spec: Spec, name: str, role: str, issued: IssuedConsumer, configuration: str
) -> dict[str, Any]:
    """Return what `certs issue` did.

    `key` is null if the consumer made its own key. `replaced` is the previous certificate: etcd accepts it until its
    `not_after`, or until its CA is dropped. It is null if there is no previous certificate that etcd accepts.
    """
    replaced = issued.replaced
    return {
        "format": 1,
        "cluster": spec.name,
        "name": name,
        "role": role,
        "ca": issued.files.ca,
        "certificate": issued.files.cert,
        "key": issued.files.key if issued.has_key else None,
        **_validity(issued.cert),
        "replaced": {"kept": str(replaced.kept), **_validity(replaced.cert)} if replaced else None,
        "configuration": configuration,
    }


def archived_consumer_json(spec: Spec, name: str, kept: Path, cert: CertSeen) -> dict[str, Any]:
    """Return what `certs forget` did. etcd accepts the certificate until `not_after`, or until its CA is dropped."""
    return {"format": 1, "cluster": spec.name, "name": name, "kept": str(kept), **_validity(cert)}


def _validity(cert: CertSeen) -> dict[str, Any]:
    return {
        "fingerprint": cert.fingerprint,
        "not_before": cert.not_before.isoformat(),
        "not_after": cert.not_after.isoformat(),
    }


def own_ca_json(spec: Spec, directory: Path, section: str) -> dict[str, Any]:
    return {
        "format": 1,
        "cluster": spec.name,
        "directory": str(directory),
        "ca": str(directory / "ca.pem"),
        "tls": section,
    }


def requests_json(spec: Spec, folder: Path, written: Sequence[Path], section: str) -> dict[str, Any]:
    """Return the path that each signed certificate must have, and what it must contain."""
    wanted = {each.role: each for each in desired_certs(spec)}
    requests = []
    for path in written:
        each = wanted[f"{path.stem}/{path.parent.name}"]
        requests.append(
            {
                "member": path.parent.name,
                "kind": path.stem,
                "request": str(path),
                "key": str(path.with_name(f"{path.stem}-key.pem")),
                "certificate": str(path.with_suffix(".pem")),
                "common_name": each.common_name,
                "dns_names": list(each.dns_names),
                "addresses": list(each.addresses),
                "usages": list(each.usages),
            }
        )
    return {
        "format": 1,
        "cluster": spec.name,
        "ca": str(folder / "ca.pem"),
        "requests": requests,
        "tls": section,
    }


def renewal_json(
    spec: Spec, renewed: CertsToRenew, steps: int, found: Sequence[ServedCert], results: Sequence[Health]
) -> dict[str, Any]:
    """Return what `certs renew` did. `ports` is what each port serves in a new handshake.

    `members` is empty if not all members became healthy.
    """
    ports = [
        {
            "host": each.host,
            "port": each.port,
            "proved": not each.why,
            "why": each.why or None,
            "serial": each.serial or None,
            "not_after": each.until.isoformat() if each.until else None,
        }
        for each in found
    ]
    return {
        "format": 1,
        "cluster": spec.name,
        "renewed": [{"role": role, "why": why} for role, (_, why) in renewed.items()],
        "steps_done": steps,
        "ports": ports,
        "members": [member_json(each) for each in results],
    }


def rotation_json(
    spec: Spec,
    observed: Observed,
    steps: int,
    handshakes: int,
    results: Sequence[Health],
    following: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the state of a CA rotation. `phase` is the phase that is complete, null if no rotation is in progress.

    `next` is the next phase, and what consumers need before it.
    """
    return {
        "format": 1,
        "cluster": spec.name,
        "phase": rotation_stage(observed.pki),
        "steps_done": steps,
        "handshakes": handshakes,
        "next": following,
        "members": [member_json(each) for each in results],
    }


def next_phase_json(
    observed: Observed, stage: RotationStage, need: str, ca: str, connected: Mapping[Client, Sequence[str]]
) -> dict[str, Any]:
    """Return the next phase. `consumers` are those whose newest certificate in the PKI is signed by the old CA.

    `connected` are the clients that have a connection to a client port now, with any certificate.
    """
    return {
        "phase": stage,
        "consumers_need": need,
        "ca": ca,
        "consumers": list(consumers_of_old_ca(observed.pki)) if stage == "drop" else [],
        "connected": [
            {"address": client.address, "program": client.program or None, "to": list(to)}
            for client, to in sorted(connected.items())
        ],
        "command": f"etcdup certs rotate-ca --consumers-have {need}",
    }
