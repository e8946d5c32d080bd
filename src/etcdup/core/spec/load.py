"""Load cluster.yaml into a Spec, or report all problems in it at once, each with its line and column."""

import copy
import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etcdup.core.spec.host_rules import Mistake, host_mistakes
from etcdup.core.spec.key_meanings import SECTIONS
from etcdup.core.spec.model import Spec
from etcdup.core.spec.section_rules import section_mistakes
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.yaml_document import Document, Loc, read_document
from etcdup.errors import BadFile, Problem

_SECTIONS: dict[Loc, type[BaseModel]] = {
    tuple(filter(None, name.removesuffix("[]").split("."))): model for name, model, _ in SECTIONS
}
# Sections whose keys are not ours: flags of etcd, and variables.
_TABLES: tuple[Loc, ...] = (("etcd", "extra"), ("etcd", "environment"))
_INIT_HINT = "run `etcdup init` to create a cluster.yaml that you can edit"
# Keys that users may write instead of ours, and that difflib does not find.
_SYNONYMS = {
    "ip": "address",
    "host": "address",
    "hostname": "name",
    "members": "hosts",
    "nodes": "hosts",
    "port": "client_port",
    "source": "from",
}
_REQUIRED: dict[Loc, str] = {
    ("name",): "name: prod",
    ("version",): f"version: {NEWEST[max(NEWEST)]}",
    ("hosts",): "hosts: [{name: infra1, address: 192.168.8.66}]",
    ("hosts", "name"): "name: infra1",
    ("hosts", "address"): "address: 192.168.8.66",
    ("etcd", "access", "user"): "user: root",
    ("etcd", "access", "password_command"): "password_command: pass etcd/root",
}
# A section with required keys has no defaults. If a part of it is wrong, the whole section is left out.
_WHOLE_SECTION: Loc = ("etcd", "access")
# pydantic's error types, by the beginning of their name: our message and hint.
_SECTION_HINT = "write keys with values below `{key}:`, or `{key}: {{}}` for the defaults"
_WRONG_TYPES = (
    ("bool", "must be true or false", ""),
    ("tuple", "must be a list", "begin each entry with `- `"),
    ("model", "must be a section: keys with values", _SECTION_HINT),
    ("dict", "must be a section: keys with values", _SECTION_HINT),
)


def load_bytes(data: bytes, path: str = "cluster.yaml") -> Spec:
    """Load the bytes of a cluster.yaml. Bytes that are not UTF-8 are a problem with a position too."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        problem = Problem(line, column, "this character is not valid UTF-8", "save the file as UTF-8")
        raise BadFile(path, (problem,)) from None
    return load(text, path)


def load(text: str, path: str = "cluster.yaml") -> Spec:
    """Return the Spec that the text describes. Raise BadFile with all problems; messages name the file `path`."""
    document = read_document(text)
    if not isinstance(document.data, dict):
        raise BadFile(path, tuple(document.problems) or (_no_keys(document),))
    data = document.data
    if isinstance(data.get("version"), float):
        # YAML reads 3.6 and 3.10 as numbers, and 3.10 becomes 3.1. So take the text as it was written.
        data["version"] = document.values[("version",)].text
    spec, faults = _validated(data)
    problems = [*document.problems, *_fault_problems(document, faults)]
    unsound = document.unknown | {_loc(fault) for fault in faults}
    sound = spec or _validated(_repaired(data, unsound))[0]
    if sound is not None:
        problems += _mistake_problems(document, sound, unsound)
    if problems or spec is None:
        raise BadFile(path, tuple(dict.fromkeys(problems)))
    return spec


def _no_keys(document: Document) -> Problem:
    if document.data is None:
        return Problem(0, 0, "the file is empty", _INIT_HINT)
    at = document.position_of(())
    message = "the file must contain keys with values, for example `name: prod`"
    return Problem(at.line, at.column, message, _INIT_HINT)


def _validated(data: Any) -> tuple[Spec | None, list[ErrorDetails]]:
    try:
        return Spec.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _loc(fault: ErrorDetails) -> Loc:
    """Return the place of the fault. For a value of a table, cut off the type that pydantic adds to the place."""
    loc = tuple(fault["loc"])
    return loc[:3] if loc[:2] in _TABLES else loc


def _repaired(data: dict[str, Any], unsound: Iterable[Loc]) -> dict[str, Any]:
    """Return the data without its invalid parts, and with placeholders for required keys.

    So the rules between keys can still check the valid rest. Mistakes about a placeholder are dropped later.
    """
    repaired = copy.deepcopy(data)
    for loc in sorted(unsound, key=len, reverse=True):
        _drop(repaired, _WHOLE_SECTION if loc[:2] == _WHOLE_SECTION else loc)
    repaired.setdefault("name", "unnamed")
    repaired.setdefault("version", "0.0.0")
    hosts = repaired.setdefault("hosts", [])
    for index, host in enumerate(hosts):
        host.setdefault("name", f"unnamed{index}")
        host.setdefault("address", f"unnamed{index}.invalid")
    return repaired


def _drop(data: Any, loc: Loc) -> None:
    """Remove the value at this place. An entry of a list becomes empty instead, so that the indexes stay the same."""
    for depth, part in enumerate(loc, start=1):
        there = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if not there:
            return  # The fault is a missing key, so there is nothing to remove.
        if depth < len(loc):
            data = data[part]
        elif isinstance(data, dict):
            del data[part]
        else:
            data[part] = {}


def _fault_problems(document: Document, faults: list[ErrorDetails]) -> Iterator[Problem]:
    """Yield pydantic's faults as problems. A required key that is misspelt is reported once, as unknown."""
    unknown = [_loc(fault) for fault in faults if fault["type"] == "extra_forbidden"]
    meant = {(*loc[:-1], _similar_key(loc)) for loc in unknown}
    for fault in faults:
        loc = _loc(fault)
        if loc in document.unknown or (fault["type"] == "missing" and loc in meant):
            continue
        at = document.keys.get(loc) if fault["type"] == "extra_forbidden" else None
        at = at or document.position_of(loc)
        yield Problem(at.line, at.column, *_fault_text(document, fault, loc))


def _fault_text(document: Document, fault: ErrorDetails, loc: Loc) -> tuple[str, str]:
    """Return the message and the hint for one fault of pydantic."""
    kind, key = fault["type"], _key_of(loc)
    context = fault.get("ctx", {})
    if kind == "value_error":
        return f"{key}: {context['error']}", getattr(context["error"], "hint", "")
    if kind == "missing":
        example = _REQUIRED[tuple(part for part in loc if isinstance(part, str))]
        if loc in document.keys:
            return f"`{key}` has no value", f"write a value, for example `{example}`"
        return f"`{key}` is missing", f"add it, for example `{example}`"
    if kind == "extra_forbidden":
        return f"unknown key `{key}`", _unknown_key_hint(loc)
    if kind == "literal_error":
        close = _closest(
            str(fault["input"]), context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        )
        hint = f"write `{close}` instead" if close else ""
        expected = context["expected"].replace("'", "")
        return f"`{key}` must be {expected}, not `{fault['input']}`", hint
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"{context['ge']} or more" if "ge" in context else f"{context['le']} or less"
        return f"`{key}` must be {bound}, not {fault['input']}", ""
    return _type_fault_text(document, key, kind, loc)


def _type_fault_text(document: Document, key: str, kind: str, loc: Loc) -> tuple[str, str]:
    if loc[:1] == ("hosts",) and len(loc) == 2:
        return "each host must have keys with values", "write it as {name: infra1, address: 192.168.8.66}"
    written = document.values[loc].text if loc in document.values else ""
    found = f", not `{written}`" if written else ""
    if loc[:2] in _TABLES and len(loc) > 2:
        hint = "write one value; join several values with commas, as on etcd's command line"
        hint = hint if loc[1] == "extra" else "write one text or number"
        return f"`{loc[2]}` must have one plain value{found}", hint
    if kind.startswith("string"):
        return f"`{key}` must be a text", f'put the value in quotes: "{written}"' if written else ""
    if kind.startswith("int"):
        hint = f"write it without quotes: {written}" if written.isdigit() else ""
        return f"`{key}` must be a whole number{found}", hint
    message, hint = next(
        ((message, hint) for beginning, message, hint in _WRONG_TYPES if kind.startswith(beginning)),
        ("has a value of the wrong type", ""),
    )
    if loc == _WHOLE_SECTION:
        return f"`{key}` {message}{found}", "write it as {user: root, password_command: pass etcd/root}"
    return f"`{key}` {message}{found}", hint.format(key=key)


def _key_of(loc: Loc) -> str:
    """Return the last part of the place that is a key, not an index of a list."""
    return next((part for part in reversed(loc) if isinstance(part, str)), "")


def _keys_at(loc: Loc) -> list[str]:
    """Return the keys that are allowed at a place of the file."""
    section = _SECTIONS.get(tuple(part for part in loc if isinstance(part, str)))
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _closest(key: str, keys: list[str], cutoff: float = 0.6) -> str | None:
    """Return the allowed key that is most similar to this one, or None if no key is similar enough."""
    written = key.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(written, keys, n=1, cutoff=cutoff)), None)


def _similar_key(loc: Loc) -> str | None:
    """Return the key of the same section that is similar to an unknown one, or None."""
    key, keys = str(loc[-1]), _keys_at(loc[:-1])
    synonym = _SYNONYMS.get(key)
    return synonym if synonym in keys else _closest(key, keys)


def _unknown_key_hint(loc: Loc) -> str:
    """Return what to write instead of an unknown key: a similar key, here or in another section."""
    if loc[:1] != ("hosts",) and not _is_meant_here(loc):
        for section in _SECTIONS:
            if close := _closest(str(loc[-1]), _keys_at(section), cutoff=0.8):
                where = (
                    f"below `{'.'.join(map(str, section))}:`" if section else "at the top level of the file"
                )
                if section != loc[:-1]:
                    return f"write `{close}` {where}"
                break
    if similar := _similar_key(loc):
        return f"write `{similar}` instead"
    return f"remove it, or use one of these keys: {', '.join(_keys_at(loc[:-1]))}"


def _is_meant_here(loc: Loc) -> bool:
    """Return whether the section of an unknown key has the meant key. Other sections can have a similar one too."""
    key, keys = str(loc[-1]), _keys_at(loc[:-1])
    return _SYNONYMS.get(key) in keys or _closest(key, keys, cutoff=0.8) is not None


def _mistake_problems(document: Document, sound: Spec, unsound: set[Loc]) -> Iterator[Problem]:
    for mistake in (*host_mistakes(sound), *section_mistakes(sound)):
        if not _rests_on(mistake, unsound):
            at = document.position_of(mistake.about[0])
            yield Problem(at.line, at.column, mistake.message, mistake.hint)


def _rests_on(mistake: Mistake, unsound: set[Loc]) -> bool:
    return any(loc[:length] in unsound for loc in mistake.about for length in range(1, len(loc) + 1))
