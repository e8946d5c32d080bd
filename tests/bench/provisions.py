"""What contenders need before the clock starts: Ansible, Python for its hosts, archives. Cached."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import etcdup
from tests.bench.errors import CannotRun
from tests.lab.base_image import SUITE, base_image
from tests.support.cache import build_once, cache_dir
from tests.support.etcd_binaries import release_sha256, release_tarball
from tests.support.private_apt import PrivateApt

ANSIBLE = "ansible-core==2.19.*"


def bench_cache() -> Path:
    return cache_dir() / "bench"


def etcdup_program() -> Path:
    """The `etcdup` of the Python that runs this, with its bytecode written, as an installer leaves it."""
    program = Path(sys.executable).with_name("etcdup")
    if not program.exists():
        raise CannotRun(f"{program} is not there: `make bench` installs it")
    _run([sys.executable, "-m", "compileall", "-q", Path(etcdup.__file__).parent])
    return program


def ansible_venv() -> Path:
    """A virtual environment with Ansible. To be used by its bin/python: scripts in it name another folder."""
    return build_once(bench_cache() / f"venv-{ANSIBLE.replace('==', '-').rstrip('.*')}", _install_ansible)


def _install_ansible(venv: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", venv])
    # This Python's pip installs for the other: Debian's bare python3 cannot give a new one its pip.
    _run([sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--quiet", ANSIBLE])


def etcdup_cache(version: str) -> Path:
    """A cache of etcdup's that holds the same archive as the others are given, and its checksum beside it."""
    return build_once(bench_cache() / f"etcdup-{version}", lambda folder: _fill_cache(version, folder))


def _fill_cache(version: str, folder: Path) -> None:
    archive = folder / "archives" / f"etcd-v{version}-linux-amd64+go.tar.gz"
    archive.parent.mkdir()
    shutil.copy(release_tarball(version), archive)
    archive.with_name(f"{archive.name}.sha256").write_text(f"{release_sha256(version)}  {archive.name}\n")


def python_layer() -> Path:
    """All files that installing Debian's python3 adds to the base image, or changes in it."""
    base = base_image()
    return build_once(bench_cache() / f"python-on-{base.name}", lambda layer: _build_layer(base, layer))


def _build_layer(base: Path, layer: Path) -> None:
    with TemporaryDirectory(dir=layer.parent) as temporary:
        work, root = Path(temporary, "work"), Path(temporary, "root")
        work.mkdir()
        root.mkdir()
        _run(
            [
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                f"lowerdir={base},upperdir={layer},workdir={work}",
                root,
            ]
        )
        try:
            _install_python(base, root)
        finally:
            _run(["umount", root])
    for path in layer.rglob("*"):
        if stat.S_ISCHR(path.lstat().st_mode):  # overlayfs's mark for a file that is gone
            path.unlink()


def _install_python(base: Path, root: Path) -> None:
    with TemporaryDirectory() as temporary:
        apt = PrivateApt(Path(temporary), [SUITE], status=base / "var/lib/dpkg/status")
        apt.update()
        (root / "debs").mkdir()
        for package in apt.download_with_dependencies("python3"):
            shutil.copy(package, root / "debs")
    # apt rather than dpkg: it knows the order.
    _run(["chroot", root, "sh", "-c", "apt-get install --yes /debs/*.deb && apt-get clean && rm -r /debs"])


def _run(argv: Sequence[str | Path]) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*map(str, argv)], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stdout}{done.stderr}")
