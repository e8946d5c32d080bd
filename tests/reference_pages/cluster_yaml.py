"""docs/reference/cluster-yaml.md: every key with its type and its default."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from etcdup.core.spec import model
from etcdup.core.spec.address import parse_address, parse_listen_address, parse_ssh_address
from etcdup.core.spec.key_meanings import MEANINGS, SECTIONS
from tests.reference_pages.markdown import GENERATED, filled, table

_TYPES: tuple[tuple[Any, str], ...] = (
    (model.Name, "name"),
    (model.Port, "port"),
    (model.AbsolutePath, "absolute path"),
    (model.Size, "size"),
    (model.Seconds, "duration"),
    (model.Compaction, "duration, or section"),
    (model.MemberName, "string"),
    (model.EtcdVersion, "version"),
    (Annotated[str, BeforeValidator(parse_address)], "address"),
    (Annotated[str, BeforeValidator(parse_ssh_address)], "address"),
    (Annotated[str, BeforeValidator(parse_listen_address)], "IP address"),
    (str, "string"),
    (int, "integer"),
    (bool, "boolean"),
    (float, "number"),
)
_CLUSTER_YAML = """\
# cluster.yaml

Every key of the file, with its type and its default. A key that is not in this list is an error. etcdup reports all
mistakes in the file at once, with line and column, before it connects to a host. `etcdup init` writes a commented
file.

- A **size** is written like `512MiB` or `2GiB`. `GB` means GiB, as in the documents of etcd.
- A **duration** is written like `30s`, `8h`, `1h30m` or `7d`.
- A **relative path** starts at the directory of cluster.yaml.
"""


def cluster_yaml_page() -> str:
    parts = [_CLUSTER_YAML, GENERATED]
    for section, kind, text in SECTIONS:
        parts += [f"## {section or 'Top level'}\n", f"{filled(text)}\n", _keys_table(section, kind)]
    return "\n".join(parts)


def keys_in_model() -> list[str]:
    """Return every key as `section.key`."""
    return [
        _key_path(section, field.alias or name)
        for section, kind, _ in SECTIONS
        for name, field in kind.model_fields.items()
    ]


def _key_path(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _keys_table(section: str, kind: type[BaseModel]) -> str:
    hints = get_type_hints(kind, include_extras=True)
    rows = []
    for name, field in kind.model_fields.items():
        key = field.alias or name
        meaning = field.description or MEANINGS[_key_path(section, key)]
        hint = _without_none(hints[name])
        rows.append((f"`{key}`", _type_text(hint), _default_text(field, hint), meaning))
    return table(("key", "type", "default", "meaning"), rows)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        kept = tuple(each for each in get_args(hint) if each is not NoneType)
        return kept[0] if len(kept) == 1 else hint
    return hint


def _type_text(hint: Any) -> str:
    for known, text in _TYPES:
        if hint == known:
            return text
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limits_text(arguments) or _type_text(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin is tuple:
        inner = "sections" if _is_section(arguments[0]) else "strings"
        return f"list of {inner}" if inner == "sections" else f"string, or list of {inner}"
    if origin is dict:
        return "section"
    assert _is_section(hint), hint
    return "section"


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _limits_text(arguments: tuple[Any, ...]) -> str:
    """Return `integer, 1 to 7300` for an annotation with limits, and nothing for any other."""
    found = [
        each for argument in arguments[1:] if isinstance(argument, FieldInfo) for each in argument.metadata
    ]
    least = next((each.ge for each in found if hasattr(each, "ge")), None)
    most = next((each.le for each in found if hasattr(each, "le")), None)
    if least is None:
        return ""
    return f"integer, {least} to {most}" if most is not None else f"integer, {least} or more"


def _default_text(field: FieldInfo, hint: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == {} or isinstance(value, BaseModel):
        return ""
    if hint == model.Size:
        return f"`{value // model.GIB}GiB`"
    if hint in (model.Seconds, model.Compaction):
        return f"`{value // 3600}h`" if value % 3600 == 0 else f"`{value}s`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return " ".join(f"`{each}`" for each in (value if isinstance(value, tuple) else (value,)))
