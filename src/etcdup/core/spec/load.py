"""cluster.yaml to a Spec, or every problem in it at once, each with its line and column."""

import copy
import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etcdup.core.spec.host_rules import Mistake, host_mistakes
from etcdup.core.spec.model import (
    BackupSpec,
    EtcdSpec,
    HostSpec,
    InstallSpec,
    KeepSpec,
    Spec,
    SshSpec,
    TlsSpec,
)
from etcdup.core.spec.section_rules import section_mistakes
from etcdup.core.spec.warnings import warnings
from etcdup.core.spec.yaml_document import Document, Loc, read_document
from etcdup.errors import BadFile, Problem

__all__ = ["load", "load_bytes", "warnings"]

_SECTIONS: dict[Loc, type[BaseModel]] = {
    (): Spec,
    ("hosts",): HostSpec,
    ("ssh",): SshSpec,
    ("install",): InstallSpec,
    ("etcd",): EtcdSpec,
    ("tls",): TlsSpec,
    ("backup",): BackupSpec,
    ("backup", "keep"): KeepSpec,
}
_START = "`etcdup init` writes one to start from"
# Other words for our keys, too far from them for difflib.
_SYNONYMS = {
    "ip": "address",
    "host": "address",
    "hostname": "name",
    "members": "hosts",
    "nodes": "hosts",
    "port": "client_port",
    "source": "from",
}
# What pydantic calls a fault of type, by the beginning of its name, in our words.
_WRONG_TYPES = (
    ("bool", "must be true or false", ""),
    ("tuple", "must be a list", "begin each entry with `- `"),
    ("model", "must be a section: keys with values", ""),
    ("dict", "must be a section: keys with values", ""),
)


def load_bytes(data: bytes, path: str = "cluster.yaml") -> Spec:
    """`load`, for a file's bytes as they are: what is not UTF-8 is a problem with a place too."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        problem = Problem(line, column, "this is not text in UTF-8", "save the file as UTF-8")
        raise BadFile(path, (problem,)) from None
    return load(text, path)


def load(text: str, path: str = "cluster.yaml") -> Spec:
    """The Spec that the text describes. Raises BadFile with every problem found; `path` is for its words."""
    document = read_document(text)
    if not isinstance(document.data, dict):
        raise BadFile(path, tuple(document.problems) or (_no_keys(document),))
    data = document.data
    if isinstance(data.get("version"), float):
        # 3.6 and 3.10 are numbers to YAML, the latter 3.1: a version is what was written.
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
        return Problem(0, 0, "the file is empty", _START)
    at = document.position_of(())
    return Problem(at.line, at.column, "the file must hold keys with values, like `name: prod`", _START)


def _validated(data: Any) -> tuple[Spec | None, list[ErrorDetails]]:
    try:
        return Spec.model_validate(data), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _loc(fault: ErrorDetails) -> Loc:
    """Where the fault is. Of `extra`'s values pydantic reports each type that a value might have had."""
    loc = tuple(fault["loc"])
    return loc[:3] if loc[:2] == ("etcd", "extra") else loc


def _repaired(data: dict[str, Any], unsound: Iterable[Loc]) -> dict[str, Any]:
    """The data without its unsound parts and with stand-ins for what must be there.

    Only so can the rules between keys still be tried on the rest; what they say of a stand-in is dropped.
    """
    mended = copy.deepcopy(data)
    for loc in sorted(unsound, key=len, reverse=True):
        _drop(mended, loc)
    mended.setdefault("name", "unnamed")
    mended.setdefault("version", "0.0.0")
    hosts = mended.setdefault("hosts", [])
    for index, host in enumerate(hosts):
        host.setdefault("name", f"unnamed{index}")
        host.setdefault("address", f"unnamed{index}.invalid")
    return mended


def _drop(data: Any, loc: Loc) -> None:
    """Take out what stands at the place; an entry of a list becomes empty, so that the others keep theirs."""
    for depth, part in enumerate(loc, start=1):
        there = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if not there:
            return  # a key that is missing is the fault
        if depth < len(loc):
            data = data[part]
        elif isinstance(data, dict):
            del data[part]
        else:
            data[part] = {}


def _fault_problems(document: Document, faults: list[ErrorDetails]) -> Iterator[Problem]:
    """pydantic's faults in our words. A key that is missing because it was misspelt is reported once."""
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
    """The message and the hint for one fault of shape."""
    kind, key = fault["type"], _key_of(loc)
    context = fault.get("ctx", {})
    if kind == "value_error":
        return f"{key}: {context['error']}", getattr(context["error"], "hint", "")
    if kind == "missing":
        empty = loc in document.keys
        return f"`{key}` has no value" if empty else f"`{key}` is missing", ""
    if kind == "extra_forbidden":
        return f"unknown key `{key}`", _where_instead(loc)
    if kind == "literal_error":
        close = _closest(
            str(fault["input"]), context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        )
        hint = f"did you mean `{close}`?" if close else ""
        expected = context["expected"].replace("'", "")
        return f"`{key}` must be {expected}, not `{fault['input']}`", hint
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"{context['ge']} or more" if "ge" in context else f"{context['le']} or less"
        return f"`{key}` must be {bound}, not {fault['input']}", ""
    return _type_fault_text(document, key, kind, loc)


def _type_fault_text(document: Document, key: str, kind: str, loc: Loc) -> tuple[str, str]:
    if loc[:1] == ("hosts",) and len(loc) == 2:
        return "each host is a section of its own", "write it like {name: infra1, address: 192.168.8.66}"
    if loc[:2] == ("etcd", "extra") and len(loc) > 2:
        return f"`{loc[2]}` must have one plain value", "join several with commas, as on etcd's command line"
    if kind.startswith("string"):
        text = document.values[loc].text if loc in document.values else ""
        return f"`{key}` must be text", f'put it in quotes: "{text}"' if text else ""
    if kind.startswith("int"):
        quoted = str(document.values[loc].text).isdigit()
        return f"`{key}` must be a whole number", "write it without quotes" if quoted else ""
    words, hint = next(
        ((words, hint) for beginning, words, hint in _WRONG_TYPES if kind.startswith(beginning)),
        ("has a value that does not fit", ""),
    )
    return f"`{key}` {words}", hint


def _key_of(loc: Loc) -> str:
    """The last part of the place that is a key and not a number in a list."""
    return next((part for part in reversed(loc) if isinstance(part, str)), "")


def _keys_at(loc: Loc) -> list[str]:
    """The keys that may stand at a place of the file."""
    section = _SECTIONS.get(tuple(part for part in loc if isinstance(part, str)))
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _closest(key: str, keys: list[str], cutoff: float = 0.6) -> str | None:
    spelt = key.lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(spelt, keys, n=1, cutoff=cutoff)), None)


def _similar_key(loc: Loc) -> str | None:
    """The key of the same section that was meant by an unknown one, if there is one like it."""
    key, keys = str(loc[-1]), _keys_at(loc[:-1])
    synonym = _SYNONYMS.get(key)
    return synonym if synonym in keys else _closest(key, keys)


def _where_instead(loc: Loc) -> str:
    """What to write instead of an unknown key: another spelling, or the same in another section."""
    if loc[:1] != ("hosts",):
        for section in _SECTIONS:
            if close := _closest(str(loc[-1]), _keys_at(section), cutoff=0.8):
                place = f"below `{'.'.join(map(str, section))}:`" if section else "at the top"
                if section != loc[:-1]:
                    return f"`{close}` belongs {place}"
                break
    meant = _similar_key(loc)
    return f"did you mean `{meant}`?" if meant else ""


def _mistake_problems(document: Document, sound: Spec, unsound: set[Loc]) -> Iterator[Problem]:
    for mistake in (*host_mistakes(sound), *section_mistakes(sound)):
        if not _rests_on(mistake, unsound):
            at = document.position_of(mistake.about[0])
            yield Problem(at.line, at.column, mistake.message, mistake.hint)


def _rests_on(mistake: Mistake, unsound: set[Loc]) -> bool:
    return any(loc[:length] in unsound for loc in mistake.about for length in range(1, len(loc) + 1))
