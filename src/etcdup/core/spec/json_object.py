"""A JSON object in a text of a host. It may be anything."""

import json


def json_object(text: str) -> dict[str, object]:
    """Return the object; empty if the text is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
