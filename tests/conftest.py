"""How workers share the tests (scripts/test, `--dist loadgroup`), and which tests `--quick` and `--full` run.

The tests of one file go to one worker, so that a fixture of the file is made once. Tests marked `apart` share nothing,
and each lab test has fresh machines: these go one by one to the next free worker. Tests marked `alone` measure times:
scripts/test runs them at the end, one after the other.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
# The slowest folders come first: if one worker runs out of tests, the others have little left.
LONG = ("lab", "cli", "local")
# With --quick, tests of these folders run unless they are marked `slow`. All others need the mark `quick`.
QUICK_FOLDERS = ("core",)

# A kill test stops etcdup after every n-th command of a run (tests/support/kill_everywhere.py).
STRIDES = {"quick": "31", "default": "5", "full": "1"}

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
    extent = next((name for name in ("quick", "full") if config.getoption(name)), "default")
    os.environ.setdefault("ETCDUP_TEST_STRIDE", STRIDES[extent])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not _is_selected(item, config)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _is_selected(item, config)]
    if config.getoption("loadgroup", False):  # set on a worker of `--dist loadgroup`
        for item in items:
            if not _is_apart(item):
                item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(HERE))))
        items.sort(key=_turn)


def _is_selected(item: pytest.Item, config: pytest.Config) -> bool:
    if config.getoption("full"):
        return True
    return not item.get_closest_marker("full") and (not config.getoption("quick") or _is_quick(item))


def _is_quick(item: pytest.Item) -> bool:
    if item.get_closest_marker("slow"):
        return False
    in_quick_folder = item.path.parent == HERE or _folder(item) in QUICK_FOLDERS
    return in_quick_folder or item.get_closest_marker("quick") is not None


def _is_apart(item: pytest.Item) -> bool:
    marked = (item.get_closest_marker(name) for name in ("apart", "xdist_group"))
    return _folder(item) == "lab" or any(marked)


def _turn(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONG.index(folder) if folder in LONG else len(LONG)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]
