"""Write the generated pages of docs/reference."""

from tests.reference_pages.pages import FOLDER, pages

for name, text in pages().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
