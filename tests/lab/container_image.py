"""The image of machines that run containers: the base image with podman, docker and runc of Debian."""

import hashlib
from pathlib import Path

from tests.lab.base_image import RECIPE as BASE_RECIPE
from tests.lab.base_image import extend_base_image
from tests.support.cache import build_once, cache_dir

PACKAGES = ("podman", "runc", "docker.io")
# The disk of a machine is an overlay, on which podman cannot make another one. There is no limit of processes, because
# the control groups of a machine have no controllers. crun needs more rights than a machine has.
FILES = {
    "etc/containers/storage.conf": """\
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
""",
    "etc/containers/containers.conf": """\
[containers]
keyring = false
pids_limit = 0
[engine]
runtime = "runc"
""",
    "etc/docker/daemon.json": """\
{"storage-driver": "vfs", "iptables": false, "bridge": "none", "exec-opts": ["native.cgroupdriver=systemd"]}
""",
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
}
CONFIGURE_SCRIPT = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --no-install-recommends -o Dpkg::Options::=--force-confold /root/packages/*.deb
systemctl disable docker.service docker.socket containerd.service
rm -r /root/packages /usr/sbin/policy-rc.d
"""
_RECIPE = hashlib.sha256(repr((BASE_RECIPE, PACKAGES, FILES, CONFIGURE_SCRIPT)).encode()).hexdigest()[:12]


def container_image() -> Path:
    """Return the folder with the root file system. The first build takes a minute."""
    return build_once(cache_dir() / "lab" / f"containers-{_RECIPE}", _build)


def _build(root: Path) -> None:
    extend_base_image(root, PACKAGES, FILES, CONFIGURE_SCRIPT)
