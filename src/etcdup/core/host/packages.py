"""etcd from the packages of the distribution: the commands for each package manager, and the parsing of their output.

Sources: Debian's etcd-server and etcd-client with their maintainer scripts (of 3.4.23-4), Fedora's etcd, and openSUSE's
etcd with its separate packages etcdctl and etcdutl. For SYSTEMD_OFFLINE: https://systemd.io/ENVIRONMENT/.
"""

import re
from dataclasses import dataclass

from etcdup.core.host.member_user import RIGHTS
from etcdup.core.spec.version import Version, has_etcdutl

_MANAGERS = {
    **dict.fromkeys(("debian", "ubuntu", "raspbian", "linuxmint", "pop"), "apt"),
    **dict.fromkeys(("fedora", "rhel", "rocky", "almalinux"), "dnf"),
    # These IDs have releases with yum and releases with dnf. On the newer ones, `yum` is a link to dnf.
    **dict.fromkeys(("centos", "ol", "amzn"), "yum"),
    **dict.fromkeys(("sles", "sled", "opensuse", "opensuse-leap", "opensuse-tumbleweed"), "zypper"),
}

_UPSTREAM = re.compile(r"(?:\d+:)?v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?![\d.])(.*)", re.ASCII)
_PRERELEASE = re.compile(r"~|[-.+]?(?:rc|alpha|beta)", re.ASCII)
_RPM_VERSION = re.compile(r"^Version\s*:\s*(\S+)", re.MULTILINE)

# At an upgrade of the package, its maintainer scripts restart etcd.service, which can be our unit by then. With
# SYSTEMD_OFFLINE, systemctl starts nothing (rule 52). With NEEDRESTART_SUSPEND, needrestart restarts nothing.
_QUIET = ("env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_OFFLINE=1", "NEEDRESTART_SUSPEND=1")
_PLAIN = ("env", "LC_ALL=C")

# The installation fails if the package lists are missing or outdated. Only then they are downloaded.
_APT_INSTALL = """
install() {
  apt-get -q -y -o DPkg::Lock::Timeout=120 \\
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --no-install-recommends \\
    --allow-change-held-packages install "$@"
}
install "$@" || { apt-get -q -o DPkg::Lock::Timeout=120 update && install "$@"; }
"""

# Copy the programs to a directory of this version, which is complete or absent. A later upgrade of the package changes
# /usr/bin, but never the binaries of a running member (rule 52). Root does not run the new program.
_COPY = (
    RIGHTS
    + """
become "$3"
version=$1 versions=$2
shift 3
making=$versions/.$version.making
if [ -e "$versions/$version" ]; then exit 0; fi
rm -rf "$making"
mkdir -p "$making"
for tool in "$@"; do cp "/usr/bin/$tool" "$making/$tool"; done
said=$(cd / && $as "$making/etcd" --version) || {
  echo "user $3 cannot run /usr/bin/etcd of the package: exit status $?" >&2
  exit 1
}
said=${said%%"
"*}
if [ "$said" != "etcd Version: $version" ]; then
  echo "the package should contain etcd $version, but /usr/bin/etcd reports: $said" >&2
  exit 1
fi
sync "$making"/*
mv -T "$making" "$versions/$version"
"""
)

# Without the versionlock plugin the package is not held. The copy protects the running member in any case.
_RPM_LOCK = '"$1" -q versionlock add etcd || echo "versionlock is not available: etcd is not held" >&2'
_RPM_UNLOCK = '"$1" -q versionlock delete etcd || true'

Argv = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """The version that a package manager would install: its own text, and the release of etcd in this text."""

    text: str
    version: Version | None


def manager_of(distribution: str) -> str | None:
    """Return the package manager for the ID in os-release: apt, dnf, yum or zypper. None if it is not known."""
    return _MANAGERS.get(distribution)


def tools_of(version: Version) -> tuple[str, ...]:
    """Return the programs of an installation of this version (rule 59)."""
    return ("etcd", "etcdctl", "etcdutl") if has_etcdutl(version) else ("etcd", "etcdctl")


def packages_of(manager: str, version: Version) -> tuple[str, ...]:
    """Return the packages that contain `tools_of(version)`."""
    if manager == "apt":
        return ("etcd-server", "etcd-client")
    return tools_of(version) if manager == "zypper" else ("etcd",)


def candidate_command(manager: str) -> Argv:
    """Return the command that prints the version that would be installed.

    It changes nothing and needs no root rights.
    """
    if manager == "apt":
        return (*_PLAIN, "apt-cache", "policy", "etcd-server")
    if manager == "zypper":
        return (*_PLAIN, "zypper", "--non-interactive", "--no-refresh", "info", "etcd")
    return (*_PLAIN, manager, "--quiet", "info", "etcd")


def refresh_command(manager: str) -> Argv:
    """Return the command that downloads the package lists again."""
    if manager == "apt":
        return (*_QUIET, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=60", "update")
    if manager == "zypper":
        return (*_PLAIN, "zypper", "--non-interactive", "refresh")
    return (*_PLAIN, manager, "--quiet", "makecache")


def parse_candidate(manager: str, output: str) -> Candidate | None:
    """Return the candidate in the output of `candidate_command`, or None if there is no etcd package."""
    if manager == "apt":
        found = re.findall(r"^\s+Candidate:\s*(\S+)", output, re.MULTILINE)
    else:
        found = _RPM_VERSION.findall(output)
    offered = [Candidate(text, upstream_version(text)) for text in found if text != "(none)"]
    # dnf prints the installed version first and the available version after it.
    return max(offered, key=lambda candidate: candidate.version or Version(0, 0, 0), default=None)


def upstream_version(text: str) -> Version | None:
    """Return the version of etcd in the version of a package: `3.4.23+dfsg-4+b5` is 3.4.23.

    Return None for a pre-release, for example `3.6.0~rc1-1`.
    """
    match = _UPSTREAM.fullmatch(text)
    if match is None or _PRERELEASE.match(match[4]):
        return None
    return Version(int(match[1]), int(match[2]), int(match[3]))


def install_commands(
    manager: str, version: Version, versions_dir: str, user: str, unit_is_ours: bool
) -> tuple[Argv, ...]:
    """Return the commands that install the packages and copy their programs to `versions_dir/VERSION`.

    `user` runs the new etcd, which prints its version.

    They run as root, in this order. After a kill, all of them can run again. `unit_is_ours` says that etcd.service is
    that of etcdup. Otherwise etcd.service is masked first, until our unit file replaces the mask by a rename. Without
    the mask, Debian's package would start a single member at once or at the next boot (rule 96).
    """
    mask = () if unit_is_ours else ((*_PLAIN, "systemctl", "mask", "etcd.service"),)
    copy = ("sh", "-c", _COPY, "etcdup", str(version), versions_dir, user, *tools_of(version))
    return (*mask, *_manager_commands(manager, version), copy)


def _manager_commands(manager: str, version: Version) -> tuple[Argv, ...]:
    packages = packages_of(manager, version)
    if manager == "apt":
        exact = [f"{package}={version}*" for package in packages]
        return (
            (*_QUIET, "dpkg", "--configure", "-a"),  # completes an installation that was killed
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
