"""The generated pages of docs/reference equal what the code says now. `make docs` writes them again."""

import pytest

from etcdup.core.spec.key_meanings import MEANINGS
from tests.reference_pages.cluster_yaml import keys_in_model
from tests.reference_pages.json_fields import field_meaning, field_types
from tests.reference_pages.json_sources import SOURCES, Source
from tests.reference_pages.pages import FOLDER, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_equals_the_code(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], "run `make docs`"


def test_each_key_of_cluster_yaml_has_a_meaning_and_no_other_has() -> None:
    assert sorted(MEANINGS) == sorted(keys_in_model())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.verb)
def test_each_json_field_has_a_meaning(source: Source) -> None:
    assert [path for path in field_types(source) if not field_meaning(source, path)] == []
