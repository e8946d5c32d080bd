"""The Debian image of all machines: built once, kept in the cache, never changed."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.shell import run
from tests.support.cache import build_once, cache_dir
from tests.support.private_apt import KEYRING, PrivateApt, debian_mirror

SUITE = "bookworm"
# There is no Python, because etcdup must not need it on a host. Machine.shift_clock uses libfaketime.
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "iputils-ping", "ca-certificates",
    "sudo", "libfaketime",
)  # fmt: skip

OPER_PASSWORD = "correct horse battery"
USERS = ("root", "admin", "oper", "nosudo")
CLOCK = "/etc/lab-clock"

FILES = {
    "etc/sudoers.d/lab": f"admin ALL=(ALL) NOPASSWD: ALL\noper ALL=(ALL) ALL\nDefaults env_file={CLOCK}\n",
    "etc/ssh/sshd_config.d/lab.conf": "UseDNS no\nGSSAPIAuthentication no\nMaxStartups 200:30:400\n",
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStopSec=20s\n",
    "etc/apt/apt.conf.d/90lab": 'Acquire::Retries "0";\nAcquire::Languages "none";\n',
    # By default sshd starts early, and rejects all users except root until systemd-user-sessions has started.
    "etc/systemd/system/ssh.service.d/lab.conf": "[Unit]\nAfter=systemd-user-sessions.service\n",
    # Only commands of a shell that sshd started have the shifted clock: sshd's seccomp filter would kill an sshd
    # with libfaketime. Debian's bash reads this file for `ssh HOST COMMAND` too, so it applies to open connections.
    "etc/bash.bashrc": f"[ ! -e {CLOCK} ] || . {CLOCK}\n",
}

CONFIGURE_SCRIPT = f"""
set -e
for user in admin oper nosudo; do useradd --create-home --shell /bin/bash $user; done
echo 'oper:{OPER_PASSWORD}' | chpasswd
chmod 0440 /etc/sudoers.d/lab
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/hostname
rm -f /etc/resolv.conf /etc/apt/sources.list
ln -s "$(ls /usr/lib/*/faketime/libfaketime.so.1)" /usr/local/lib/libfaketime.so
systemctl enable systemd-networkd.service
systemctl set-default multi-user.target
systemctl mask console-getty.service apt-daily.timer apt-daily-upgrade.timer \\
    e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer
apt-get clean
rm -rf /var/lib/apt/lists/*
"""

RECIPE = hashlib.sha256(repr((SUITE, PACKAGES, FILES, CONFIGURE_SCRIPT)).encode()).hexdigest()[:12]


def base_image() -> Path:
    """Return the folder with the root file system. The first build of a recipe takes a minute."""
    return build_once(cache_dir() / "lab" / f"base-{RECIPE}", _build)


def _build(root: Path) -> None:
    include = f"--include={','.join(PACKAGES)}"
    options = ["--variant=minbase", f"--keyring={KEYRING}", include]
    run(["debootstrap", *options, SUITE, root, debian_mirror()], timeout_s=1800)
    for path, text in FILES.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + (file.read_text() if file.exists() else ""))
    run(["chroot", root, "/bin/sh", "-c", CONFIGURE_SCRIPT])


def extend_base_image(root: Path, packages: tuple[str, ...], files: Mapping[str, str], script: str) -> None:
    """Fill the folder with the base image, these packages in /root/packages, and the files. Run the script in it."""
    run(["cp", "-a", f"{base_image()}/.", root], timeout_s=600)
    (root / "root/packages").mkdir()
    with TemporaryDirectory() as temporary:
        apt = PrivateApt(Path(temporary), [SUITE], status=base_image() / "var/lib/dpkg/status")
        apt.update()
        for package in apt.download_with_dependencies(*packages):
            shutil.copy(package, root / "root/packages")
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    run(["chroot", root, "/bin/sh", "-c", script], timeout_s=900)
