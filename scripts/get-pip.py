"""Put pip into the environment of the Python that runs this.

    get-pip.py LOCK

It comes from ensurepip if there is one. Debian's python3 has ensurepip only with python3-venv, which needs root. Then
the wheel comes from the package index that pip itself would use. Its version and its SHA-256 must be those of LOCK.
"""

import configparser
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from hashlib import sha256
from pathlib import Path
from urllib.parse import urljoin

INDEX = "https://pypi.org/simple"


def main(lock: Path) -> None:
    if subprocess.run([sys.executable, "-m", "ensurepip"], capture_output=True).returncode != 0:
        install_locked(lock, index_url())


def install_locked(lock: Path, index: str) -> None:
    version, digests = locked_pip(lock.read_text(encoding="utf-8"))
    name = f"pip-{version}-py3-none-any.whl"
    with urllib.request.urlopen(wheel_url(index, name), timeout=60) as answer:
        content = answer.read()
    if sha256(content).hexdigest() not in digests:
        raise SystemExit(f"the SHA-256 of {name} from the package index is not in {lock}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        subprocess.run(
            [sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True
        )


def locked_pip(lock: str) -> tuple[str, list[str]]:
    """Return the version of pip in a lock, and the SHA-256 of its files."""
    found = re.search(r"^pip==(\S+) \\\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)+)", lock, re.MULTILINE)
    if found is None:
        raise SystemExit("the lock has no pip")
    return found[1], re.findall(r"sha256:([0-9a-f]{64})", found[2])


def index_url() -> str:
    """Return the index by the same settings that pip reads: the environment, then pip.conf."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    files = [
        os.environ.get("PIP_CONFIG_FILE", ""),
        "~/.config/pip/pip.conf",
        "~/.pip/pip.conf",
        "/etc/pip.conf",
    ]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(Path(file).expanduser() for file in reversed(files) if file)
    return parser.get("global", "index-url", fallback=INDEX)


def wheel_url(index: str, name: str) -> str:
    """Return the address of a file of pip, by the simple repository API (PEP 503, PEP 691)."""
    page = f"{index.rstrip('/')}/pip/"
    request = urllib.request.Request(
        page, headers={"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        body, base = answer.read().decode(), answer.geturl()
    links = _json_links(body) if body.lstrip().startswith("{") else re.findall(r'href="([^"]+)"', body)
    for link in links:
        if link.partition("#")[0].rpartition("/")[2] == name:
            return urljoin(base, link)
    raise SystemExit(f"{page} does not have {name}")


def _json_links(body: str) -> list[str]:
    return [file["url"] for file in json.loads(body)["files"]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
