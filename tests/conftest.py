"""How workers share the tests (scripts/test, `--dist loadgroup`), and which tests `--quick` and `--full` run.

The first lines of a run say which kills it takes, and its end says how many cases it leaves out.

The tests of one file go to one worker, so that a fixture of the file is made once. Tests marked `apart` share nothing,
and each lab test has fresh machines: these go one by one to the next free worker. Tests marked `alone` measure times:
scripts/test runs them at the end, one after the other.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support import cases
from tests.support.texts import Texts

HERE = Path(__file__).parent
# The slowest folders come first: if one worker runs out of tests, the others have little left.
LONG = ("lab", "cli", "local")
# With --quick, tests of these folders run unless they are marked `slow`. All others need the mark `quick`.
QUICK_FOLDERS = ("core",)

# A kill test stops etcdup after every n-th command of a run (tests/support/kill_everywhere.py).
STRIDES = {"quick": "31", "default": "15", "full": "1"}
LEFT_OUT = pytest.StashKey[int]()

# A busy machine must not make a test fail: pytest-timeout ends a test that hangs.
settings.register_profile("etcdup", deadline=None)
settings.load_profile("etcdup")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="run the fast tests only: no root, no network, no etcd"
    )
    parser.addoption(
        "--full", action="store_true", help="run every case, and stop kill tests after every command"
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("ETCDUP_TEST_STRIDE", STRIDES[_extent(config)])


def _extent(config: pytest.Config) -> str:
    return next((name for name in ("quick", "full") if config.getoption(name)), "default")


def pytest_report_header(config: pytest.Config) -> str:
    stride = os.environ["ETCDUP_TEST_STRIDE"]
    return f"kill tests: after one of {stride} commands; {cases.OFFSET_VARIABLE}={cases.offset()}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not _is_selected(item, config)]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)
    if hasattr(config, "workeroutput"):  # With workers, only they collect tests.
        config.workeroutput["left_out"] = len(left_out)
    items[:] = [item for item in items if _is_selected(item, config)]
    if config.getoption("loadgroup", False):  # set on a worker of `--dist loadgroup`
        for item in items:
            if not _is_apart(item):
                item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(HERE))))
        items.sort(key=_turn)


@pytest.fixture(scope="module", autouse=True)
def _delete_folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """After the tests of a file, delete their folders, unless one failed. Each etcd member leaves 128 MiB."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        for folder in tmp_path_factory.getbasetemp().iterdir():
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def texts(request: pytest.FixtureRequest, tmp_path: Path) -> Texts:
    """Compare texts of etcdup with the golden file of the module."""
    return Texts(request.path, request.node.name, tmp_path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the number of a worker. All workers collect the same tests."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if left := config.stash.get(LEFT_OUT, 0):
        larger = "make test" if _extent(config) == "quick" else "make test-full"
        terminalreporter.write_line(f"{left} cases were left out; `{larger}` runs them (tests/README.md)")


def _is_selected(item: pytest.Item, config: pytest.Config) -> bool:
    if config.getoption("full"):
        return True
    if config.getoption("quick"):
        return _is_quick(item)
    return _is_its_turn(item) and item.get_closest_marker("full") is None


def _is_its_turn(item: pytest.Item) -> bool:
    """Return whether this commit runs the test. A test may have a turn, and each of its cases a turn within it."""
    left, is_turn = cases.offset(), True
    for mark in item.iter_markers("in_turn"):
        number, count = mark.args
        is_turn = is_turn and left % count == number
        left //= count
    return is_turn


def _is_quick(item: pytest.Item) -> bool:
    if item.get_closest_marker("quick"):
        return True
    if any(map(item.get_closest_marker, ("slow", "full", "in_turn"))):
        return False
    return item.path.parent == HERE or _folder(item) in QUICK_FOLDERS


def _is_apart(item: pytest.Item) -> bool:
    marked = (item.get_closest_marker(name) for name in ("apart", "xdist_group"))
    return _folder(item) == "lab" or any(marked)


def _turn(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONG.index(folder) if folder in LONG else len(LONG)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]
