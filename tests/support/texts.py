"""Compare the texts of errors, refusals and notes with the golden file of the test's module.

The file `golden/MODULE.txt`, next to the module, has a section for each test. UPDATE_GOLDEN=1 rewrites the sections of
the tests that run.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from subprocess import CompletedProcess

from etcdup.core.plan.plan import Refusal

TEST, NEXT = "== ", "--"
# What differs from run to run.
CHANGING = (
    (re.compile(r"\b20\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?"), "TIME"),
    (re.compile(r"\b20\d{6}T\d{6}Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "SHA256"),
    (re.compile(r"\bSHA256:[A-Za-z0-9+/]{43}"), "FINGERPRINT"),
    (re.compile(r"\b127\.77\.\d+\."), "127.77.N."),  # the network of one test
    (re.compile(r"\b\d{7,}(?= bytes)|(?<=bytes, expected )\d{7,}"), "SIZE"),
)


class Texts:
    """The texts of one test. Each call compares the next one. `folder` is its temporary directory."""

    def __init__(self, module: Path, test: str, folder: Path) -> None:
        self._path = golden_file(module)
        self._test = test
        self._folder = folder
        self._shown: list[str] = []

    def __call__(self, shown: object, **changing: object) -> None:
        """Compare all fields of this error, refusal or finding, or the texts of these notes.

        `changing` are values that differ from run to run. The golden file has their names.
        """
        text = "\n".join(lines_of(shown)).replace(str(self._folder), "FOLDER")
        # Folders that several tests have in common.
        text = re.sub(rf"{re.escape(str(self._folder.parent))}/[\w-]+", "FOLDER", text)
        for name, value in changing.items():
            text = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", name, text)
        for pattern, name in CHANGING:
            text = pattern.sub(name, text)
        self._shown.append(text)
        if os.environ.get("UPDATE_GOLDEN"):
            write_sections(self._path, read_sections(self._path) | {self._test: self._shown})
        golden = read_sections(self._path).get(self._test, [])
        expected = golden[len(self._shown) - 1 : len(self._shown)]
        assert [text] == expected, f"{self._path}: expected\n{NEXT.join(expected)}\n\nfound\n{text}"


def golden_file(module: Path) -> Path:
    """Return the golden file of a test module."""
    return module.parent / "golden" / f"{module.stem}.txt"


def read_sections(path: Path) -> dict[str, list[str]]:
    """Return the texts of each test, by its name with its parameters."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = (part.partition("\n") for part in f"\n{text}".split(f"\n{TEST}")[1:])
    return {name: body.removesuffix("\n").split(f"\n{NEXT}\n") for name, _, body in parts}


def write_sections(path: Path, sections: dict[str, list[str]]) -> None:
    """Write the golden file."""
    path.parent.mkdir(exist_ok=True)
    found = (f"{TEST}{name}\n" + f"\n{NEXT}\n".join(texts) + "\n" for name, texts in sorted(sections.items()))
    path.write_text("\n".join(found), encoding="utf-8")


def lines_of(shown: object) -> Iterator[str]:
    """Yield the class of an error and its texts, each field of a dataclass that is set, or each text of a list.

    Of a run of etcdup, yield its exit code and its error. If it has no error, yield all of its stderr.
    """
    if isinstance(shown, BaseException):
        yield f"{type(shown).__name__}: {shown}"
        yield from (f"{name}: {text}" for name in ("detail", "hint") if (text := getattr(shown, name, "")))
    elif isinstance(shown, CompletedProcess):
        _, error, text = f"\n{shown.stderr}".rpartition("\nerror: ")
        yield f"exit code {shown.returncode}"
        yield f"{error}{text}".strip("\n")
    elif isinstance(shown, Refusal):
        yield from lines_of(shown.reasons)
    elif is_dataclass(shown):
        values = ((each.name, getattr(shown, each.name)) for each in fields(shown))
        yield from (f"{name}: {value}" for name, value in values if value)
    elif isinstance(shown, Iterable) and not isinstance(shown, str):
        for each in shown:
            yield from lines_of(each)
    else:
        yield str(shown).rstrip("\n")
