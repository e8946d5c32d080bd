"""The schema for editors accepts each file that etcdup accepts, and finds what it can."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.spec.load import load_bytes
from etcdup.core.spec.schema import cluster_schema
from etcdup.core.spec.yaml_document import read_document

GOOD_FILES = sorted((Path(__file__).parent / "cases" / "good_files").glob("*.yaml"))
SCHEMA = cluster_schema()
KNOWN = frozenset(
    ("$defs", "$schema", "title", "description", "default", "anyOf", "type", "enum", "properties", "required",
     "additionalProperties", "items", "$ref", "minimum", "maximum")
)  # fmt: skip
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
VALID = {"name": "prod", "version": "3.6.14", "hosts": [{"name": "a", "address": "10.0.0.1"}]}


def faults(schema: dict[str, Any], value: Any, at: str = "") -> Iterator[str]:
    """Yield where the value is not valid. Only the keywords of JSON schema that our schema has are known."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema:
        yield from faults(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, at)
    if "anyOf" in schema and all(list(faults(each, value, at)) for each in schema["anyOf"]):
        yield at
    if "type" in schema and not _is_of_type(schema["type"], value):
        yield at
        return
    if "enum" in schema and value not in schema["enum"]:
        yield at
    if (
        not schema.get("minimum", value) <= value <= schema.get("maximum", value)
        if _is_number(value)
        else False
    ):
        yield at
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from faults(schema.get("items", {}), each, f"{at}[{index}]")
    if isinstance(value, dict):
        yield from _object_faults(schema, value, at)


def _object_faults(schema: dict[str, Any], value: dict[str, Any], at: str) -> Iterator[str]:
    yield from (f"{at}.{key}" for key in schema.get("required", ()) if key not in value)
    other = schema.get("additionalProperties", {})
    for key, each in value.items():
        below = schema.get("properties", {}).get(key, other)
        if below is False:
            yield f"{at}.{key}"
        else:
            yield from faults(below, each, f"{at}.{key}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_of_type(name: str, value: Any) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


@pytest.mark.parametrize("path", GOOD_FILES, ids=lambda path: path.stem)
def test_a_file_that_etcdup_accepts_is_valid(path: Path) -> None:
    load_bytes(path.read_bytes())
    assert list(faults(SCHEMA, read_document(path.read_bytes().decode()).data)) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"quota": "2GiB"}, ".quota"),
        ({"hosts": [{"name": "a"}]}, ".hosts[0].address"),
        ({"etcd": {"quoota": "2GiB"}}, ".etcd"),
        ({"etcd": {"client_port": 0}}, ".etcd"),
        ({"tls": {"mode": "none"}}, ".tls"),
        ({"backup": {"to": [1]}}, ".backup"),
        ({"name": None}, ".name"),
    ],
)
def test_a_wrong_key_or_value_is_found(change: dict[str, Any], where: str) -> None:
    assert list(faults(SCHEMA, VALID)) == []
    assert where in list(faults(SCHEMA, VALID | change))
