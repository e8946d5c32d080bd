"""docs/reference/json.md: the fields of each verb's `--json`, from sample documents."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any, get_origin, get_type_hints

from etcdup.cli.views.certs_view import inventory_json
from etcdup.cli.views.plan_view import refusal_json
from etcdup.cli.views.revocation_view import revocation_json
from etcdup.core.backups.backups import Manifest, Proof
from etcdup.core.certs.inventory import CertFacts, CertRow, Inventory, Link
from etcdup.core.certs.revocation import ToRevoke
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, CrlSeen, PkiSeen
from etcdup.core.plan.plan import Refusal, Refused
from etcdup.core.spec.model import Spec
from etcdup.ops.certs.rejection import Rejection
from tests.reference_pages.json_meanings import FIELD_MEANINGS
from tests.reference_pages.json_sources import MAPPINGS, SOURCES, Source
from tests.reference_pages.markdown import GENERATED, filled, table

GOLDEN = Path(__file__).parents[1] / "cli" / "golden"
_JSON = """\
# JSON

`--json` prints one JSON document on stdout. The names and the meanings of fields are a contract: a new version of
etcdup can add fields, but does not change or remove one. `format` is 1. Times are UTC, ISO 8601.

`apply`, `restore` and `recover` ask no question if they have `--json`. Without `--yes`, `--yes-restore` or
`--yes-recover` they print the plan and end with 3.

In the names below, `[]` is each entry of a list, and `*` is any name. The types come from sample documents: a field
with the type `null` has no value in the samples.
"""


def json_page() -> str:
    parts = [_JSON, GENERATED]
    for source in SOURCES:
        rows = [
            (f"`{path}`", _types_text(types), field_meaning(source, path))
            for path, types in field_types(source).items()
        ]
        text = [filled(source.text) + "\n"] if source.text else []
        parts += [f"## {source.verb}\n", *text, table(("field", "type", "meaning"), rows)]
    return "\n".join(parts)


def field_types(source: Source) -> dict[str, set[str]]:
    """Return the types of each field in the samples of a verb, in the order of the document."""
    kinds: dict[str, set[str]] = {}
    for document in _documents(source):
        _collect(document, "", kinds, source.folded)
    return {path: types for path, types in kinds.items() if path and not path.endswith("[]")}


def field_meaning(source: Source, path: str) -> str:
    return FIELD_MEANINGS.get(f"{source.verb}: {path}") or FIELD_MEANINGS.get(path.rpartition(".")[2], "")


def _types_text(types: set[str]) -> str:
    lists = sorted(each for each in types if each.startswith("list of"))
    return " or ".join(sorted(types - {"list"} if lists else types))


def _documents(source: Source) -> Iterator[Any]:
    for name in source.golden:
        document = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
        for key in filter(None, source.within.split(".")):
            document = document[key]
        yield document
    if source.sample:
        yield samples()[source.sample]


def _collect(value: Any, path: str, kinds: dict[str, set[str]], folded: tuple[str, ...]) -> None:
    """Add the type of each field in the value to `kinds`. A folded field is not opened."""
    kinds.setdefault(path, set()).add(_type_name(value))
    if path in folded:
        return
    if isinstance(value, list):
        for each in value:
            _collect(each, f"{path}[]", kinds, folded)
    if isinstance(value, dict):
        for key, each in value.items():
            inner = "*" if path in MAPPINGS else key
            _collect(each, f"{path}.{inner}" if path else inner, kinds, folded)


def _type_name(value: Any) -> str:
    if isinstance(value, list):
        return f"list of {_type_name(value[0])}s" if value else "list"
    return _TYPE_NAMES[type(value)]


_TYPE_NAMES: dict[type[object], str] = {
    NoneType: "null", bool: "boolean", str: "string", int: "number", float: "number", dict: "object",
}  # fmt: skip


def samples() -> dict[str, Any]:
    """Return one document for each verb that has no golden file."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    manifest, proof = _sample_of(Manifest), _sample_of(Proof)
    listed = {"format": 1, "places": ["./backups"], "failed": [{"place": "s3://b/p", "why": "timeout"}]}
    taken = {"places": ["./backups"], "written_s": 1.0, "read_back_s": 1.0, "failed": listed["failed"]}
    row = {**manifest, "proved": True, "why": None, "places": ["./backups"]}
    copy = {"name": "prod", "place": "./backups", "why": None, "decrypted": True, "whole": True}
    cert = CertSeen(
        "/p", "", "f", "infra1", ("infra1",), ("10.0.0.1",), ("serverAuth",), at, at, "k", "k", False
    )
    crl = CrlSeen("f", 2, at, at, "k", frozenset({"2a"}))
    facts = CertFacts(cert, "CN=infra1", "CN=ca", "2a")
    rows = (CertRow(("server/infra1",), facts, ("here",), ("infra1",), 364, False, True),)
    inventory = Inventory(
        rows, ("a finding",), (Link("infra1", "infra2"), Link("infra1", "infra3", "timeout")), (crl,)
    )
    hosts = [{"name": "infra1", "address": "10.0.0.1"}]
    spec = Spec.model_validate({"name": "prod", "version": "3.6.14", "hosts": hosts})
    proofs = (
        Rejection("infra1", "client/app", True),
        Rejection("infra2", "client/app", None, "its member does not run"),
    )
    observed = Observed(at, {}, {}, PkiSeen("managed", crls={"crl": crl}))
    revoked = revocation_json(
        spec,
        observed,
        (ToRevoke("client/app", cert),),
        4,
        proofs,
    )
    refusal = Refusal("prod", (Refused("why", "hint", "infra1", (25,)),), ("note",))
    newest = {"name": "prod", "taken_at": at.isoformat(), "proved": True}
    newest_two = {"last": newest, "last_proved": newest, "why": None, "lacking": ["./backups"]}
    return {
        "status": {"backups": newest_two},
        "backup now": {"format": 1, **manifest, **taken},
        "backup list": {**listed, "backups": [row]},
        "backup verify": {**listed, "backups": [copy]},
        "backup prune": {
            "format": 1,
            "deleted": ["prod"],
            "copies": [{"name": "prod", "place": "./backups"}],
            "unused": [{"name": "prod", "place": "./backups", "why": "it is not signed"}],
        },
        "backup drill": {"format": 1, **proof},
        "certs list": inventory_json(inventory, "a link that raft reports as inactive"),
        "certs revoke": revoked,
        "plan refused": refusal_json(refusal),
    }


def _sample_of(kind: type[Any]) -> dict[str, Any]:
    """Return a value of the right type for each field of the dataclass, as `asdict` and JSON write it."""
    hints = get_type_hints(kind)
    return {each.name: _sample_value(hints[each.name]) for each in fields(kind)}


def _sample_value(hint: Any) -> Any:
    if get_origin(hint) is not None:
        return {"a1": "infra1"}
    return {int: 1, float: 1.0, str: "text", datetime: "2026-01-01T00:00:00+00:00", bool: True}[hint]
