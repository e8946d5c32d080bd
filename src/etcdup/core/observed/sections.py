"""The sections of the output of a script: a line `@NAME`, and the lines after it."""

from collections.abc import Iterable


def sections_of(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the lines of each section by its name. Lines before the first section are left out."""
    sections: dict[str, list[str]] = {}
    section: list[str] = []
    for line in lines:
        if line.startswith("@"):
            section = sections.setdefault(line[1:], [])
        else:
            section.append(line)
    return sections
