"""Backups in a folder, as a client of the store could write them. Their databases are not databases."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from etcdup.core.backups.backups import (
    DATABASE,
    MANIFEST,
    PROOF,
    Manifest,
    Proof,
    backup_name,
    manifest_text,
    proof_text,
)
from etcdup.ops.backups.trust import MANIFEST_KIND, PROOF_KIND, Trust
from tests.support.backup_key import TRUST

DATA = bytes(512)
CONTENT = DATA + hashlib.sha256(DATA).digest()


def manifest_at(at: datetime, **changes: Any) -> Manifest:
    manifest = Manifest(
        backup_name("prod", at), "prod", "7f", "infra1", {"infra1": "https://10.0.0.1:2380"}, "3.6.14", at,
        len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 7, 3, 12, -1, "", signed=True,
    )  # fmt: skip
    return replace(manifest, **changes)


def put_backup(folder: Path, at: datetime, trust: Trust = TRUST, **changes: Any) -> str:
    """Write a backup, signed by the key of this trust, or unsigned without one. Return its name."""
    manifest = manifest_at(at, **changes)
    text = manifest_text(manifest)
    if trust.key is None:
        text = json.dumps(json.loads(text) | {"format": 1}, indent=1) + "\n"
    (folder / (manifest.name + DATABASE)).write_bytes(CONTENT)
    (folder / (manifest.name + MANIFEST)).write_bytes(trust.sign(MANIFEST_KIND, text))
    return manifest.name


def put_proof(folder: Path, name: str, at: datetime, trust: Trust = TRUST, *, of: str = "") -> None:
    proof = Proof(of or name, at, "3.6.14", 7, 3, 12, 1.0, 1.0)
    (folder / (name + PROOF)).write_bytes(trust.sign(PROOF_KIND, proof_text(proof)))
