"""The image of machines with Patroni: the base image with Debian's PostgreSQL and Patroni, and a Patroni of PyPI.

python -m tests.clients.patroni_image      build it, and print its path
"""

import hashlib
import sys
from pathlib import Path

from tests.lab.base_image import RECIPE as BASE_RECIPE
from tests.lab.base_image import extend_base_image
from tests.lab.shell import run
from tests.support.cache import build_once, cache_dir

PACKAGES = ("postgresql-15", "patroni", "python3-etcd", "python3-psycopg2")
# Patroni of PyPI is pure Python. It uses the libraries that Debian's Patroni needs too.
PYPI = ("patroni==4.1.5", "ydiff==1.4.2")
PYPI_FOLDER = "/opt/patroni"

FILES = {
    "etc/postgresql-common/createcluster.d/lab.conf": "create_main_cluster = false\n",
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
}
CONFIGURE_SCRIPT = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --no-install-recommends /root/packages/*.deb
systemctl mask postgresql.service patroni.service
rm -r /root/packages /usr/sbin/policy-rc.d
"""
_RECIPE = hashlib.sha256(repr((BASE_RECIPE, PACKAGES, PYPI, FILES, CONFIGURE_SCRIPT)).encode()).hexdigest()[
    :12
]


def patroni_image() -> Path:
    """Return the folder with the root file system. The first build takes a minute."""
    return build_once(_folder(), _build)


def why_not() -> str | None:
    """Return why a test cannot use the image, or None. No test builds it, because that takes long."""
    return None if _folder().exists() else "the image with Patroni is not built: use `make test-clients`"


def _folder() -> Path:
    return cache_dir() / "lab" / f"patroni-{_RECIPE}"


def _build(root: Path) -> None:
    extend_base_image(root, PACKAGES, FILES, CONFIGURE_SCRIPT)
    target = f"--target={root}{PYPI_FOLDER}"
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", target, *PYPI], timeout_s=300)


if __name__ == "__main__":
    print(patroni_image())
