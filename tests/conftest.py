"""How workers share the tests (scripts/test, `--dist loadgroup`), and which tests `--quick` keeps.

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

# A busy machine must not make a test fail: pytest-timeout ends a test that hangs.
settings.register_profile("etcdup", deadline=None)
settings.load_profile("etcdup")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="run the fast tests only: no root, no network, no etcd"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("quick"):
        # Kill tests stop after every seventh command instead of after each one (tests/support/kill_everywhere.py).
        os.environ["ETCDUP_TEST_STRIDE"] = "7"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick"):
        slow = [item for item in items if not _is_quick(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if _is_quick(item)]
    if config.getoption("loadgroup", False):  # set on a worker of `--dist loadgroup`
        for item in items:
            if not _is_apart(item):
                item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(HERE))))
        items.sort(key=_turn)


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
