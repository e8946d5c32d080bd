"""The files that `etcdup export` and `etcdup certs issue` name in their comments."""

import re

COPY = re.compile(r"^#\s+(\S+)\s+->\s+(\S+)$", re.MULTILINE)


def files_to_copy(text: str) -> list[tuple[str, str]]:
    """Return the path of each file next to cluster.yaml, and its target on the host of the consumer."""
    found = COPY.findall(text)
    assert found, f"no file is named:\n{text}"
    return found
