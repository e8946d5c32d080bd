"""A repository of Debian packages for machines without a mirror: etcd's packages and their dependencies."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.base_image import SUITE, base_image
from tests.lab.shell import run
from tests.support.cache import build_once
from tests.support.private_apt import PrivateApt

PACKAGES = ("etcd-server", "etcd-client")


def package_repository() -> Path:
    """Return a flat repository that fits the base image: `deb [trusted=yes] URL ./` in sources.list."""
    base = base_image()
    return build_once(base.with_name(f"{base.name}-packages"), _build)


def _build(repository: Path) -> None:
    with TemporaryDirectory() as temporary:
        apt = PrivateApt(Path(temporary), [SUITE], status=base_image() / "var/lib/dpkg/status")
        apt.update()
        for package in apt.download_with_dependencies(*PACKAGES):
            shutil.copy(package, repository)
    for index in ("packages", "release"):
        listing = run(["sh", "-c", f"cd '{repository}' && apt-ftparchive {index} ."]).stdout
        (repository / index.capitalize()).write_text(listing)
