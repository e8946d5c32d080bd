"""The endpoints of members that leave in an unfinished change of hosts, on the operator's machine.

`export` and `certs issue` connect to no host. So apply writes these endpoints into a file, and deletes it when the
change is complete. The file is only for the display of configurations: no plan depends on it.
"""

from collections.abc import Iterable
from pathlib import Path

from etcdup.core.spec.model import Spec
from etcdup.ops.files import write_file

MODE = 0o644


def _path(spec: Spec, folder: Path) -> Path:
    """Return the path of the file. The operators of a cluster share the PKI directory, if etcdup manages it."""
    if spec.tls.mode == "managed":
        return folder / Path(spec.tls.dir).expanduser() / "previous-endpoints"
    return folder / ".etcdup" / f"{spec.name}.previous-endpoints"


def write_previous_endpoints(spec: Spec, folder: Path, urls: Iterable[str]) -> None:
    """Write the file, or delete it if there are no such endpoints."""
    path, lines = _path(spec, folder), sorted(urls)
    if not lines:
        path.unlink(missing_ok=True)
    elif path.parent.is_dir():
        write_file(path, "".join(f"{line}\n" for line in lines).encode(), MODE)


def read_previous_endpoints(spec: Spec, folder: Path) -> tuple[str, ...]:
    """Return the endpoints of the file; none if there is no file."""
    try:
        return tuple(_path(spec, folder).read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return ()
