"""The project's own pages: each is whole, and none leads to a page that is not there."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PAGES = sorted((*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_merge_was_left_unfinished(page: Path) -> None:
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", page.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_files_that_contributors_are_sent_to_are_there() -> None:
    """`words.py` is named by itself, `cli/views/step_texts.py` with its package."""
    there = {str(path.relative_to(CHECKOUT / "src/etcdup")) for path in CHECKOUT.glob("src/etcdup/**/*.py")}
    there |= {path.rpartition("/")[2] for path in there} | {"cluster.yaml", "conftest.py"}
    for page in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:\w+/)*\w+\.py)`", (CHECKOUT / page).read_text())
        assert named
        assert [name for name in named if name not in there and not (CHECKOUT / name).exists()] == [], page


def test_the_readme_is_among_them() -> None:
    assert CHECKOUT / "README.md" in PAGES
