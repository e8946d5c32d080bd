"""The JSON schema of cluster.yaml, for editors."""

from typing import Any

from etcdup.core.spec.key_meanings import MEANINGS, SECTIONS
from etcdup.core.spec.model import Spec

# YAML 1.2 reads them as texts. etcdup accepts them, as YAML 1.1 does.
_BOOLEAN_WORDS = ["yes", "no", "on", "off"]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def cluster_schema() -> dict[str, Any]:
    """Return the schema. A file that etcdup accepts is valid. Rules between keys are not part of it."""
    schema = Spec.model_json_schema(by_alias=True)
    models = {"Spec": schema, **schema["$defs"]}
    for section, kind, text in SECTIONS:
        model = models[kind.__name__]
        model["description"] = text
        for key, value in model["properties"].items():
            model["properties"][key] = _property(
                value, MEANINGS[f"{section}.{key}".lstrip(".")], required=key in model.get("required", ())
            )
        model.pop("title")
    return {"$schema": DIALECT, "title": "cluster.yaml of etcdup", **schema}


def _property(schema: dict[str, Any], meaning: str, *, required: bool) -> dict[str, Any]:
    """Return the schema of one key. A key without a value has its default, so null is allowed if there is one."""
    kept = {key: value for key, value in schema.items() if key not in ("default", "title", "description")}
    kinds = kept.pop("anyOf", None) or [kept]
    if kept.get("type") == "boolean":
        kinds.append({"enum": _BOOLEAN_WORDS})
    null = {"type": "null"}
    if not required and null not in kinds:
        kinds.append(null)
    kind = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    default = {"default": schema["default"]} if schema.get("default") is not None else {}
    return {"description": meaning, **kind, **default}
