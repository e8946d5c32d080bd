"""How workers that run side by side share the tests out: scripts/test, `--dist loadgroup`.

A file goes to one worker, so that what its tests have in common is made once. Tests marked `apart` have nothing in
common, nor have those on the lab's machines, which are fresh for each: they go one by one to whoever is free. Tests
marked `alone` take times, and nothing may run beside them.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What takes longest comes first: where one worker has nothing left to do, the other has little.
LONG = ("lab", "cli", "local")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("loadgroup", False):  # what `--dist loadgroup` is to a worker
        return
    for item in items:
        if not _is_apart(item):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(HERE))))
    items.sort(key=_order)


def _is_apart(item: pytest.Item) -> bool:
    marked = (item.get_closest_marker(name) for name in ("apart", "xdist_group"))
    return _folder(item) == "lab" or any(marked)


def _order(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONG.index(folder) if folder in LONG else len(LONG)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]
