"""How every `--json` is written."""

import json
from collections.abc import Mapping
from typing import Any


def json_text(facts: Mapping[str, Any]) -> str:
    """One document, complete with its line end."""
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
