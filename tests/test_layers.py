"""The fence: what each package may import, and what core/ may not even name."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "etcdup"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "pb" not in path.parts)

# Each package may import those before it, and itself.
LAYERS = ("core", "remote", "ops", "cli")

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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    layer = layer_of(path)
    if layer not in LAYERS:
        return
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for module, _, line in imports_of(ast.parse(path.read_text())):
        parts = module.split(".")
        if parts[0] == "etcdup" and len(parts) > 1 and parts[1] in LAYERS:
            assert parts[1] in allowed, f"{path.name}:{line}: {layer} may not import {module}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if layer_of(path) == "core"], ids=lambda path: path.name
)
def test_core_is_pure(path: Path) -> None:
    assert breaches(path.read_text()) == []


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
