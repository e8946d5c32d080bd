"""etcd from the distribution's packages: what each package manager is asked, and what its answers mean.

Facts: Debian's etcd-server and etcd-client with their maintainer scripts (read in 3.4.23-4), Fedora's etcd,
openSUSE's etcd with etcdctl and etcdutl apart; systemd's ENVIRONMENT document for SYSTEMD_OFFLINE.
"""

import re
from dataclasses import dataclass

from etcdup.core.spec.version import Version, has_etcdutl

_MANAGERS = {
    **dict.fromkeys(("debian", "ubuntu", "raspbian", "linuxmint", "pop"), "apt"),
    **dict.fromkeys(("fedora", "rhel", "rocky", "almalinux"), "dnf"),
    # Where one ID has seen both, `yum` is there on all: a link to dnf on the newer ones.
    **dict.fromkeys(("centos", "ol", "amzn"), "yum"),
    **dict.fromkeys(("sles", "sled", "opensuse", "opensuse-leap", "opensuse-tumbleweed"), "zypper"),
}

_UPSTREAM = re.compile(r"(?:\d+:)?v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?![\d.])(.*)", re.ASCII)
_PRERELEASE = re.compile(r"~|[-.+]?(?:rc|alpha|beta)", re.ASCII)
_RPM_VERSION = re.compile(r"^Version\s*:\s*(\S+)", re.MULTILINE)

# SYSTEMD_OFFLINE: maintainer scripts restart etcd.service when a package is upgraded, and by then that unit
# can be ours; with it, systemctl starts nothing (rule 52). NEEDRESTART_SUSPEND: nor does needrestart.
_QUIET = ("env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_OFFLINE=1", "NEEDRESTART_SUSPEND=1")
_PLAIN = ("env", "LC_ALL=C")

# Missing or outdated lists show as a failed installation, so that is when they are fetched.
_APT_INSTALL = """
install() {
  apt-get -q -y -o DPkg::Lock::Timeout=120 \\
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --no-install-recommends \\
    \\
    --allow-change-held-packages install "$@"
}
install "$@" || { apt-get -q -o DPkg::Lock::Timeout=120 update && install "$@"; }
"""

# Into a folder of this version's own, complete or not there at all: what a later package upgrade does to
# /usr/bin never reaches a running member (rule 52).
_COPY = """
set -e
version=$1 versions=$2
shift 2
making=$versions/.$version.making
if [ -e "$versions/$version" ]; then exit 0; fi
umask 022
rm -rf "$making"
mkdir -p "$making"
for tool in "$@"; do cp "/usr/bin/$tool" "$making/$tool"; done
said=$("$making/etcd" --version | head -n 1)
if [ "$said" != "etcd Version: $version" ]; then
  echo "the package was to bring etcd $version, but /usr/bin/etcd says: $said" >&2
  exit 1
fi
sync "$making"/*
mv -T "$making" "$versions/$version"
"""

# Only where the versionlock plugin is there; elsewhere the copy alone must do.
_RPM_LOCK = '"$1" -q versionlock add etcd || echo "no versionlock here: etcd is not held" >&2'
_RPM_UNLOCK = '"$1" -q versionlock delete etcd || true'

Argv = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """What a package manager would install: its own version text, and the etcd release that it names."""

    text: str
    version: Version | None


def manager_of(distribution: str) -> str | None:
    """The package manager by os-release's ID: apt, dnf, yum or zypper; None where etcdup knows none."""
    return _MANAGERS.get(distribution)


def tools_of(version: Version) -> tuple[str, ...]:
    """The programs that make up an installation of this version (rule 59)."""
    return ("etcd", "etcdctl", "etcdutl") if has_etcdutl(version) else ("etcd", "etcdctl")


def packages_of(manager: str, version: Version) -> tuple[str, ...]:
    """The packages that hold `tools_of(version)`."""
    if manager == "apt":
        return ("etcd-server", "etcd-client")
    return tools_of(version) if manager == "zypper" else ("etcd",)


def candidate_command(manager: str) -> Argv:
    """Asks for the version that would be installed. Changes nothing; needs no root."""
    if manager == "apt":
        return (*_PLAIN, "apt-cache", "policy", "etcd-server")
    if manager == "zypper":
        return (*_PLAIN, "zypper", "--non-interactive", "--no-refresh", "info", "etcd")
    return (*_PLAIN, manager, "--quiet", "info", "etcd")


def refresh_command(manager: str) -> Argv:
    """Fetches the lists anew."""
    if manager == "apt":
        return (*_QUIET, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=60", "update")
    if manager == "zypper":
        return (*_PLAIN, "zypper", "--non-interactive", "refresh")
    return (*_PLAIN, manager, "--quiet", "makecache")


def parse_candidate(manager: str, output: str) -> Candidate | None:
    """`candidate_command`'s answer. None where no etcd is on offer."""
    if manager == "apt":
        found = re.findall(r"^\s+Candidate:\s*(\S+)", output, re.MULTILINE)
    else:
        found = _RPM_VERSION.findall(output)
    offered = [Candidate(text, upstream_version(text)) for text in found if text != "(none)"]
    # dnf shows what is installed and what is available one after the other.
    return max(offered, key=lambda candidate: candidate.version or Version(0, 0, 0), default=None)


def upstream_version(text: str) -> Version | None:
    """etcd's version in a package's: `3.4.23+dfsg-4+b5` is 3.4.23. None for a prerelease: `3.6.0~rc1-1`."""
    match = _UPSTREAM.fullmatch(text)
    if match is None or _PRERELEASE.match(match[4]):
        return None
    return Version(int(match[1]), int(match[2]), int(match[3]))


def install_commands(
    manager: str, version: Version, versions_dir: str, unit_is_ours: bool
) -> tuple[Argv, ...]:
    """Installs the packages and copies their programs to `versions_dir/VERSION`, run in this order as root.

    Killed anywhere, all of it can be run again. `unit_is_ours`: etcdup's etcd.service is in place. Where it
    is not, etcd.service is masked first and stays so until our unit file replaces the mask by rename:
    Debian's package would start a single member on its own, at once or at the next boot (rule 96).
    """
    mask = () if unit_is_ours else ((*_PLAIN, "systemctl", "mask", "etcd.service"),)
    copy = ("sh", "-c", _COPY, "etcdup", str(version), versions_dir, *tools_of(version))
    return (*mask, *_manager_commands(manager, version), copy)


def _manager_commands(manager: str, version: Version) -> tuple[Argv, ...]:
    packages = packages_of(manager, version)
    if manager == "apt":
        exact = [f"{package}={version}*" for package in packages]
        return (
            (*_QUIET, "dpkg", "--configure", "-a"),  # what an earlier run, cut short, left half done
            (*_QUIET, "sh", "-c", _APT_INSTALL, "etcdup", *exact),
            (*_QUIET, "apt-mark", "hold", *packages),
        )
    if manager == "zypper":
        exact = [f"{package}={version}" for package in packages]
        zypper = (*_QUIET, "zypper", "--non-interactive")
        return (
            (*zypper, "removelock", *packages),
            (*zypper, "install", "--no-recommends", *exact),
            (*zypper, "addlock", *packages),
        )
    return (
        (*_QUIET, "sh", "-c", _RPM_UNLOCK, "etcdup", manager),
        (*_QUIET, manager, "--assumeyes", "install", *(f"{package}-{version}-*" for package in packages)),
        (*_QUIET, "sh", "-c", _RPM_LOCK, "etcdup", manager),
    )
