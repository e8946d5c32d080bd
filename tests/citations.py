"""Which rules the source cites, and which codes it gives to findings: read from its text and its syntax tree."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "etcdup"
_CITED = re.compile(r"\brules?[ ](\d+(?:(?:-|, and |, | and | to )\d+)*)", re.IGNORECASE)
_NUMBERS = re.compile(r"(\d+)(?:(?:-| to )(\d+))?")
# Calls whose arguments can hold rule numbers in a tuple, and where it is when it has no keyword.
_POSITIONS = {"Finding": 5, "Refused": 3}


@cache
def modules() -> dict[Path, ast.Module]:
    """Return each module of etcdup's own, parsed."""
    files = sorted(path for path in SOURCE.rglob("*.py") if "pb" not in path.parts)
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}


def cited_rules() -> dict[int, set[str]]:
    """Return each rule number that a comment, a string or a `rules` argument cites, with the files that do."""
    cited: dict[int, set[str]] = {}
    for path, tree in modules().items():
        numbers = {*numbers_in(path.read_text(encoding="utf-8")), *_arguments(tree)}
        for number in numbers:
            cited.setdefault(number, set()).add(str(path.relative_to(SOURCE)))
    return cited


def numbers_in(text: str) -> Iterator[int]:
    """`rule 7`, `rules 1, 2`, `rules 1-3, 11`, `Rules 29 to 31`; also where a comment continues on the next line."""
    joined = re.sub(r"\s*\n\s*#?\s*", " ", text)
    for match in _CITED.finditer(joined):
        for first, last in _NUMBERS.findall(match[1]):
            yield from range(int(first), int(last or first) + 1)


def _arguments(tree: ast.Module) -> Iterator[int]:
    for function, call in calls(tree):
        for value in values_of(rules_argument(call), function, tree):
            if isinstance(value, int):
                yield value


def rules_argument(call: ast.Call) -> ast.expr | None:
    """Return the rules of a step, a refusal or a finding."""
    for keyword in call.keywords:
        if keyword.arg == "rules":
            return keyword.value
    position = _POSITIONS.get(call.func.id) if isinstance(call.func, ast.Name) else None
    return call.args[position] if position is not None and position < len(call.args) else None


def codes_given(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Each code that a finding or a cause of this module can have, with the call that makes it."""
    for function, call in calls(tree):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        given = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
        # A function that makes a finding gets its code as a text.
        is_text = isinstance(given, ast.Constant) and isinstance(given.value, str)
        if name not in ("Finding", "Cause", "causes_of") and not is_text:
            continue
        if name == "causes_of":
            given = call.args[1]
        codes = [str(value) for value in values_of(given, function, tree)]
        assert codes or is_given_on(given), (
            f"line {call.lineno}: this finding has no code that can be read here"
        )
        yield from ((code, call) for code in codes)


def is_given_on(given: ast.expr | None) -> bool:
    """Return whether a code is only passed on: `causes_of` gets it from its caller."""
    return isinstance(given, ast.Name) and given.id == "code"


def calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Each call with the function that it is in; calls outside of functions with the module."""
    for outer in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))):
        yield from ((outer, node) for node in _within(outer) if isinstance(node, ast.Call))


def _within(outer: ast.AST) -> Iterator[ast.AST]:
    """What belongs to a function or a module itself, and not to a function inside of it."""
    for node in ast.iter_child_nodes(outer):
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from _within(node)


def values_of(node: ast.expr | None, function: ast.AST, tree: ast.Module) -> list[object]:
    """Return the constants that an expression can be: its own, and those of the names in it."""
    if node is None:
        return []
    found: list[object] = []
    for part in ast.walk(node):
        if isinstance(part, ast.Constant):
            found.append(part.value)
        if isinstance(part, ast.Name):
            found += _constants_named(part, function, tree)
    return found


def _constants_named(used: ast.Name, function: ast.AST, tree: ast.Module) -> list[object]:
    """Return what a local name can be: assigned, or unpacked from the rows of a table that a loop around it has."""
    name = used.id
    found: list[object] = []
    for node in _within(function):
        if isinstance(node, ast.Assign):
            found += _bound(name, node.targets[0], [node.value], tree)
        if isinstance(node, ast.For) and node.lineno <= used.lineno <= (node.end_lineno or 0):
            found += _bound(name, node.target, _rows(node.iter, tree), tree)
    return found


def _bound(name: str, target: ast.expr, values: list[ast.expr], tree: ast.Module) -> list[object]:
    if isinstance(target, ast.Name) and target.id == name:
        return [value.value for value in values if isinstance(value, ast.Constant)]
    if not isinstance(target, ast.Tuple):
        return []
    names = [part.id if isinstance(part, ast.Name) else "" for part in target.elts]
    if name not in names:
        return []
    rows = [
        row
        for value in values
        for row in (_rows(value, tree) if isinstance(value, ast.Subscript) else [value])
    ]
    at = names.index(name)
    parts = [row.elts[at] for row in rows if isinstance(row, ast.Tuple) and len(row.elts) == len(names)]
    return [part.value for part in parts if isinstance(part, ast.Constant)]


def _rows(table: ast.expr, tree: ast.Module) -> list[ast.expr]:
    """Return the rows of a tuple, of the values of a dict, or of the module's table of that name."""
    if isinstance(table, ast.Subscript):
        return _rows(table.value, tree)
    if isinstance(table, ast.Name):
        return [row for node in tree.body for row in _rows_assigned(table.id, node, tree)]
    if isinstance(table, ast.Dict):
        return list(table.values)
    return list(table.elts) if isinstance(table, ast.Tuple | ast.List) else []


def _rows_assigned(name: str, node: ast.stmt, tree: ast.Module) -> list[ast.expr]:
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
        return []
    return _rows(node.value, tree) if node.targets[0].id == name else []
