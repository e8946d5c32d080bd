"""What contenders need before a measurement: Ansible, Python for its hosts, archives. All is cached."""

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
    """Return the `etcdup` of this Python environment, after compiling its bytecode as an installer does."""
    program = Path(sys.executable).with_name("etcdup")
    if not program.exists():
        raise CannotRun(f"{program} does not exist: run `make bench`, which installs it")
    _run([sys.executable, "-m", "compileall", "-q", Path(etcdup.__file__).parent])
    return program


def ansible_venv() -> Path:
    """Return a virtual environment with Ansible. Only its bin/python works: scripts in it contain another path."""
    return build_once(bench_cache() / f"venv-{ANSIBLE.replace('==', '-').rstrip('.*')}", _install_ansible)


def _install_ansible(venv: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", venv])
    # The pip of this Python installs it, because Debian's python3 alone cannot create an environment with pip.
    _run([sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--quiet", ANSIBLE])


def etcdup_cache(version: str) -> Path:
    """Return a cache for etcdup with the archive that all contenders use, and its checksum file."""
    return build_once(bench_cache() / f"etcdup-{version}", lambda folder: _fill_cache(version, folder))


def _fill_cache(version: str, folder: Path) -> None:
    archive = folder / "archives" / f"etcd-v{version}-linux-amd64+go.tar.gz"
    archive.parent.mkdir()
    shutil.copy(release_tarball(version), archive)
    archive.with_name(f"{archive.name}.sha256").write_text(f"{release_sha256(version)}  {archive.name}\n")


def python_layer() -> Path:
    """Return a folder with all files that Debian's python3 adds to the base image or changes in it."""
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
        if stat.S_ISCHR(path.lstat().st_mode):  # a whiteout of overlayfs: a deleted file
            path.unlink()


def _install_python(base: Path, root: Path) -> None:
    with TemporaryDirectory() as temporary:
        apt = PrivateApt(Path(temporary), [SUITE], status=base / "var/lib/dpkg/status")
        apt.update()
        (root / "debs").mkdir()
        for package in apt.download_with_dependencies("python3"):
            shutil.copy(package, root / "debs")
    # apt-get installs the packages in the right order, dpkg does not.
    _run(["chroot", root, "sh", "-c", "apt-get install --yes /debs/*.deb && apt-get clean && rm -r /debs"])


def _run(argv: Sequence[str | Path]) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*map(str, argv)], env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stdout}{done.stderr}")
