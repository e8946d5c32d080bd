"""The sections of the output of a script: a line `@NAME`, and the lines after it."""

from collections.abc import Iterable


def sections_of(lines: Iterable[str], *, once: bool = False) -> dict[str, list[str]]:
    """Return the lines of each section by its name. Lines before the first section are left out.

    `once`: raise ValueError if a section appears twice.
    """
    sections: dict[str, list[str]] = {}
    section: list[str] = []
    for line in lines:
        if line.startswith("@"):
            if once and line[1:] in sections:
                raise ValueError(f"the section {line[1:41]!r} appears twice")
            section = sections.setdefault(line[1:], [])
        else:
            section.append(line)
    return sections
