"""The fence: what each package may import, and what core/ may not even name."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "etcdup"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "pb" not in path.parts)

# Each package may import those before it, and itself.
LAYERS = ("core", "remote", "ops", "cli")

# Inside a layer: wings from bottom to top. A wing may import itself, each wing of a lower row, and those left of it in
# its own row. ARCHITECTURE.md draws them.
WINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "core": (
        ("plan", "spec", "rules"),
        ("etcd", "observed"),
        ("host",),
        ("members", "versions", "certs", "backups"),
        ("restore", "maintain"),
        ("recovery", "verdict"),
        ("audit", "adopt"),
        ("planner",),
    ),
    "ops": (
        ("install", "pki"),
        ("backups",),
        ("world",),
        ("certs", "versions"),
        ("members", "recovery", "audit", "adopt"),
        ("restore",),
        ("maintain",),
        ("apply",),
    ),
    "cli": (
        ("views",),
        ("run",),
        ("apply", "backups", "status", "access"),
        ("certs", "restore", "setup", "adopt", "maintain"),
        ("verbs",),
    ),
}

# core/ decides with values alone. These would bring the outside in.
IMPURE = frozenset(
    (
        "asyncio",
        "asyncssh",
        "cryptography",
        "grpc",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    )
)
PURE_NAMES = frozenset({"PurePosixPath", "urlsplit", "urlparse"})
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


@cache
def imports_of_file(path: Path) -> list[tuple[str, str, int]]:
    return imports_of(ast.parse(path.read_text()))


def imports_of(tree: ast.AST) -> list[tuple[str, str, int]]:
    """(module, imported name, line); the name is empty for `import module`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, "", node.lineno) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found += [(node.module or "", alias.name, node.lineno) for alias in node.names]
    return found


def test_imports_run_one_way() -> None:
    assert [fault for path in FILES for fault in imports_of_higher_layers(path)] == []


def imports_of_higher_layers(path: Path) -> Iterator[str]:
    layer = layer_of(path)
    if layer not in LAYERS:
        return
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for module, _, line in imports_of_file(path):
        parts = module.split(".")
        if parts[0] == "etcdup" and len(parts) > 1 and parts[1] in LAYERS and parts[1] not in allowed:
            yield f"{path.relative_to(SOURCE)}:{line}: {layer} may not import {module}"


def wing_of(module: str) -> tuple[str, str] | None:
    """(layer, wing) of a dotted module name, or None for a module that is in no wing."""
    parts = module.split(".")
    if len(parts) < 3 or parts[0] != "etcdup" or parts[1] not in WINGS:
        return None
    return (parts[1], parts[2]) if any(parts[2] in row for row in WINGS[parts[1]]) else None


def height(layer: str, wing: str) -> tuple[int, int]:
    row = next(index for index, row in enumerate(WINGS[layer]) if wing in row)
    return row, WINGS[layer][row].index(wing)


def test_imports_between_wings_run_downward() -> None:
    assert [fault for path in FILES for fault in imports_of_higher_wings(path)] == []


def imports_of_higher_wings(path: Path) -> Iterator[str]:
    own = wing_of(".".join(("etcdup", *path.relative_to(SOURCE).with_suffix("").parts)))
    if own is None:
        return
    for module, _, line in imports_of_file(path):
        other = wing_of(module)
        if other and other[0] == own[0] and other != own and height(*other) > height(*own):
            yield f"{path.relative_to(SOURCE)}:{line}: {own[1]} may not import {module}"


@pytest.mark.parametrize("layer", WINGS)
def test_each_folder_of_a_layer_is_a_wing(layer: str) -> None:
    folders = {
        path.name for path in (SOURCE / layer).iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == {wing for row in WINGS[layer] for wing in row}


def test_nothing_that_ships_imports_the_fakes() -> None:
    for path in FILES:
        if layer_of(path) != "testing":
            assert not [line for module, _, line in imports_of_file(path) if ".testing" in module]


def test_there_is_no_import_cycle() -> None:
    graph = {
        module_of(path): {
            target
            for module, name, _ in imports_of_file(path)
            for target in (module, f"{module}.{name}")
            if target in MODULES and target != module_of(path)
        }
        for path in FILES
    }
    assert cycle_in(graph) == []


def module_of(path: Path) -> str:
    parts = ("etcdup", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = frozenset(module_of(path) for path in FILES)


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or lie between two circles; empty if there are none."""
    left = {module: set(targets) for module, targets in graph.items()}
    while True:
        imported = {target for targets in left.values() for target in targets}
        free = {module for module, targets in left.items() if not targets or module not in imported}
        if not free:
            return sorted(left)
        left = {module: targets - free for module, targets in left.items() if module not in free}


def test_a_cycle_is_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()}) == ["a", "b"]


def test_core_is_pure() -> None:
    core = [path for path in FILES if layer_of(path) == "core"]
    assert {path: found for path in core if (found := breaches(path.read_text()))} == {}


def breaches(source: str) -> list[str]:
    """What in this source is not pure, as `line: what`."""
    tree = ast.parse(source)
    found = []
    for module, name, line in imports_of(tree):
        if module.split(".")[0] in IMPURE and name not in PURE_NAMES:
            found.append(f"{line}: import of {module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{node.lineno}: async")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            found.append(f"{node.lineno}: {node.func.id}()")
        if isinstance(node, ast.Attribute) and node.attr in ("now", "today", "utcnow"):
            found.append(f"{node.lineno}: .{node.attr}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess",
        "from os import path",
        "from pathlib import Path",
        "async def f(): pass",
        "x = open('f')",
        "from datetime import datetime\nx = datetime.now()",
    ],
)
def test_the_fence_itself_holds(source: str) -> None:
    assert breaches(source)
