"""The image of machines with Patroni: the base image with Debian's PostgreSQL and Patroni, and a Patroni of PyPI.

python -m tests.clients.patroni_image      build it, and print its path
"""

import hashlib
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.base_image import RECIPE as BASE_RECIPE
from tests.lab.base_image import SUITE, base_image
from tests.lab.shell import run
from tests.support.cache import build_once, cache_dir
from tests.support.private_apt import PrivateApt

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
    run(["cp", "-a", f"{base_image()}/.", root], timeout_s=600)
    _download(root / "root/packages")
    for path, text in FILES.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    run(["chroot", root, "/bin/sh", "-c", CONFIGURE_SCRIPT], timeout_s=900)
    target = f"--target={root}{PYPI_FOLDER}"
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", target, *PYPI], timeout_s=300)


def _download(target: Path) -> None:
    target.mkdir()
    with TemporaryDirectory() as temporary:
        apt = PrivateApt(Path(temporary), [SUITE], status=base_image() / "var/lib/dpkg/status")
        apt.update()
        for package in apt.download_with_dependencies(*PACKAGES):
            shutil.copy(package, target)


if __name__ == "__main__":
    print(patroni_image())
