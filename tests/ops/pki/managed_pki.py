"""A managed PKI of three members, with which the tests start."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etcdup.core.certs.required import desired_certs, why_due
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import Pki

NOW = datetime.now(UTC).replace(microsecond=0)


def spec_of(*addresses: str, **tls: Any) -> Spec:
    hosts = [{"name": f"infra{n}", "address": address} for n, address in enumerate(addresses, 1)]
    return Spec.model_validate({"name": "prod", "version": "3.6.14", "hosts": hosts, "tls": tls})


THREE = spec_of("10.0.0.1", "10.0.0.2", "10.0.0.3")
ROLES = [each.role for each in desired_certs(THREE)]


def issue_all(folder: Path, spec: Spec = THREE) -> Pki:
    pki = open_pki(spec, folder)
    pki.issue([each.role for each in desired_certs(spec)], NOW)
    return pki


def due_reasons(spec: Spec, pki: Pki, now: datetime = NOW) -> dict[str, str]:
    seen = pki.observe()
    whys = {each.role: why_due(each, seen.certs.get(each.role), seen.ca, now) for each in desired_certs(spec)}
    return {role: why for role, why in whys.items() if why}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
