"""Certificates that are expired."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.layout import MEMBER_CERTS, layout_of
from etcdup.core.spec.load import load
from etcdup.ops.pki.open import open_pki


def issue_expired_leaves(file: Path) -> Iterator[tuple[str, str, bytes]]:
    """Issue all leaf certificates so that they expired 35 days ago.

    Return host, path and content of each file of the members. A key comes before its certificate.
    """
    spec = load(file.read_text(), str(file))
    pki = open_pki(spec, file.parent)
    pki.issue([wanted.role for wanted in desired_certs(spec)], datetime.now(UTC) - timedelta(days=400))
    for host in spec.hosts:
        layout = layout_of(spec, host)
        for kind in MEMBER_CERTS:
            cert, key = pki.pair(f"{kind}/{host.name}")
            yield host.name, layout.key(kind), key
            yield host.name, layout.cert(kind), cert
