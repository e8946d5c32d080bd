"""Puts pip into the environment of the Python that runs this: from ensurepip where there is one, else from the
package index that pip itself would use.

Debian's python3 comes without ensurepip unless python3-venv is installed, which takes root.
"""

import configparser
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

INDEX = "https://pypi.org/simple"


def index_url() -> str:
    """The index by the same settings that pip reads: the environment, then pip.conf."""
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


def newest_wheel(index: str) -> str:
    """The address of the newest pip wheel, by the simple repository API (PEP 503, PEP 691)."""
    page = f"{index.rstrip('/')}/pip/"
    asked = urllib.request.Request(
        page, headers={"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        body, base = answer.read().decode(), answer.geturl()
    links = _json_links(body) if body.lstrip().startswith("{") else re.findall(r'href="([^"]+)"', body)
    wheels = [link for link in links if re.search(r"/pip-[\d.]+-py3-none-any\.whl", link)]
    return urljoin(base, max(wheels, key=_version))


def _json_links(body: str) -> list[str]:
    return [file["url"] for file in json.loads(body)["files"]]


def _version(link: str) -> tuple[int, ...]:
    found = re.search(r"/pip-([\d.]+)-py3", link)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def main() -> None:
    if subprocess.run([sys.executable, "-m", "ensurepip", "--upgrade"], capture_output=True).returncode == 0:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = newest_wheel(index_url())
        path = Path(folder) / wheel.rpartition("/")[2].partition("#")[0]
        with urllib.request.urlopen(wheel, timeout=60) as answer:
            path.write_bytes(answer.read())
        subprocess.run(
            [sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True
        )


if __name__ == "__main__":
    main()
