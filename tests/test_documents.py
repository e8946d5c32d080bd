"""The documents: each one is complete, and each link leads to a page and a heading that exist."""

import re
from pathlib import Path

import click
import pytest

from etcdup.cli.main import cli
from tests.test_layers import WINGS

CHECKOUT = Path(__file__).parent.parent
PAGES = sorted((*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("tests/*.md")))
README_LINES = 150
# Every Python file: from the root of the checkout, from the package, and its name alone.
SOURCES = [
    path.relative_to(CHECKOUT) for folder in ("src", "tests") for path in (CHECKOUT / folder).rglob("*.py")
]
FILE_NAMES = {str(path).removeprefix("src/etcdup/") for path in SOURCES}
FILE_NAMES |= {path.name for path in SOURCES} | {str(path) for path in SOURCES}


def page_name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_no_merge_was_left_unfinished(page: Path) -> None:
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", page.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors_of(there), f"{target}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the page: those that GitHub makes of its headings, and those that it sets itself."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_each_python_file_that_a_page_names_exists(page: Path) -> None:
    """A page names `errors.py` alone, or `cli/views/step_texts.py` with its folder."""
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text())
    assert [name for name in named if name not in FILE_NAMES] == []


@pytest.mark.parametrize("layer", WINGS)
def test_architecture_draws_each_wing(layer: str) -> None:
    drawing = (CHECKOUT / "ARCHITECTURE.md").read_text().partition("## Layers and wings")[2]
    assert [wing for row in WINGS[layer] for wing in row if not re.search(rf"\b{wing}\b", drawing)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=page_name)
def test_each_command_on_a_page_exists(page: Path) -> None:
    assert [line for line in commands_on(page.read_text()) if not is_command(line)] == []


def commands_on(text: str) -> list[str]:
    """Return what the page calls etcdup with: its code blocks, and its inline code."""
    blocks = re.findall(r"^ {4,}(?:\$ )?etcdup ([^#\n]+)", text, flags=re.MULTILINE)
    return [line.strip() for line in blocks + re.findall(r"`etcdup ([^`]+)`", text)]


def is_command(line: str) -> bool:
    """Return whether the verb and its options exist. Arguments are not checked."""
    command: click.Command = cli
    words = line.replace("\\|", "|").split()
    options = {name for each in cli.params for name in each.opts}
    while words:
        word = words.pop(0)
        if word in ("--", "VERB"):
            break
        if isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*,?", word):
            if (name := word.rstrip(",")) not in command.commands:
                return False
            command = command.commands[name]
            options |= {name for each in command.params for name in each.opts} | {"--help", "-h"}
            continue
        if word.startswith("-") and word.strip("[].,") not in options:
            return False
    return True


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("backup drill --identity key.txt", True),
        ("backup fly", False),
        ("apply --now", False),
        ("ctl -- --x", True),
    ],
)
def test_a_wrong_command_is_found(line: str, known: bool) -> None:
    assert is_command(line) == known


def test_the_index_lists_each_page_of_docs() -> None:
    folder = CHECKOUT / "docs"
    linked = set()
    for index in (folder / "README.md", folder / "decisions" / "README.md"):
        linked |= {
            (index.parent / target).resolve() for target in re.findall(r"\]\(([^)#:]+)\)", index.read_text())
        }
    pages = {page.resolve() for page in folder.glob("**/*.md")} - {(folder / "README.md").resolve()}
    assert sorted(pages - linked) == []


def test_the_readme_is_short_and_is_among_the_pages() -> None:
    assert CHECKOUT / "README.md" in PAGES
    assert len((CHECKOUT / "README.md").read_text().splitlines()) < README_LINES


def test_each_test_of_the_track_record_exists() -> None:
    record = (CHECKOUT / "tests/README.md").read_text().partition("## Track record")[2]
    named = re.findall(r"`(test_\w+)` \|$", record, flags=re.MULTILINE)
    sources = (path.read_text() for path in CHECKOUT.glob("tests/**/test_*.py"))
    tests = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert named
    assert [name for name in named if name not in tests] == []
