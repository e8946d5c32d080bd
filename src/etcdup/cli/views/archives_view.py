"""Show the archives of a cluster."""

from collections.abc import Collection, Sequence
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import table_lines
from etcdup.core.host.archives import Archive
from etcdup.core.spec.units import show_size

_HEAD = ("HOST", "ARCHIVED (UTC)", "SIZE", "PATH", "")


def render_archives(archives: Sequence[Archive], for_undo: Collection[Archive]) -> str:
    """Return a table of the archives. `for_undo` are those that `restore --undo` needs."""
    if not archives:
        return "there are no archives\n"
    rows = [
        (
            each.host,
            f"{each.at:%Y-%m-%d %H:%M}",
            show_size(each.size),
            each.path,
            "`etcdup restore --undo` needs it" if each in for_undo else "",
        )
        for each in archives
    ]
    return "\n".join([*table_lines([_HEAD, *rows]), "", f"{total_text(archives)} in total", ""])


def total_text(archives: Sequence[Archive]) -> str:
    """Return the number of archives and their size."""
    return f"{count_text(len(archives), 'archive')} ({show_size(sum(each.size for each in archives))})"


def archives_json(
    archives: Sequence[Archive], for_undo: Collection[Archive], failed: dict[str, str]
) -> dict[str, Any]:
    return {
        "format": 1,
        "archives": [
            {
                "host": each.host,
                "path": each.path,
                "bytes": each.size,
                "archived_at": each.at.isoformat(),
                "needed_by_undo": each in for_undo,
            }
            for each in archives
        ],
        "failed": [{"host": host, "message": why} for host, why in failed.items()],
    }
