"""cluster.yaml, read: all that a verb needs which talks to no host."""

from pathlib import Path

from etcdup.core.load import load_bytes
from etcdup.core.spec import Spec
from etcdup.errors import UsageError


def read_spec(path: Path) -> Spec:
    """The Spec in this file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"there is no {path}", hint="`etcdup init` writes one; `-f FILE` names another"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return load_bytes(data, str(path))
