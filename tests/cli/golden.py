"""Compare a screen with its golden file. UPDATE_GOLDEN=1 rewrites the golden files."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("golden")


def assert_golden(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def assert_golden_json(name: str, data: Any) -> None:
    assert_golden(name, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
