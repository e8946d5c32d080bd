"""apt with its state in a folder: other suites and packages of other hosts. The apt of this machine is not changed.

It uses the Debian mirror of this machine, verifies signatures with the keyring of Debian, and needs no root.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# The hooks of this machine's apt (cleaning its cache, updating its catalogues) must not run here.
CONFIG = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Dir "{root}";
Dir::State "{root}/state";
Dir::State::status "{status}";
Dir::Cache "{root}/cache";
Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "";
"""


class AptError(Exception):
    """apt failed. The message contains its output."""


class PrivateApt:
    """apt with the package lists of `suites`. `status` (a dpkg status file) defines which packages are installed."""

    def __init__(self, root: Path, suites: Sequence[str], status: Path | None = None) -> None:
        self.root = root.resolve()
        self._suites = suites
        self._status = status

    def update(self) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        status = self.root / "state/status"  # A copy: apt locks the folder of its status file.
        status.write_bytes(self._status.read_bytes() if self._status else b"")
        sources = [f"deb [signed-by={KEYRING}] {debian_mirror()} {suite} main\n" for suite in self._suites]
        (self.root / "sources.list").write_text("".join(sources))
        (self.root / "apt.conf").write_text(CONFIG.format(root=self.root, status=status))
        self._apt("update", "--error-on=any")

    def download(self, *packages: str) -> list[Path]:
        """Download these packages without their dependencies."""
        self._apt("download", *packages, cwd=self.root / "cache/archives")
        return self._archives()

    def download_with_dependencies(self, *packages: str) -> list[Path]:
        """Download all packages that `apt-get install` would download with this dpkg status."""
        self._apt("install", "--yes", "--download-only", *packages)
        return self._archives()

    def _archives(self) -> list[Path]:
        return sorted((self.root / "cache/archives").glob("*.deb"))

    def _apt(self, *arguments: str, cwd: Path | None = None) -> None:
        argv = ["apt-get", "-q", "-c", str(self.root / "apt.conf"), *arguments]
        done = subprocess.run(argv, cwd=cwd or self.root, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AptError(f"{' '.join(argv)}: {done.stderr.strip()}")


def debian_mirror() -> str:
    """Return `$ETCDUP_DEBIAN_MIRROR`, or the Debian mirror in the configuration of this machine's apt."""
    if mirror := os.environ.get("ETCDUP_DEBIAN_MIRROR"):
        return mirror
    argv = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
    mirrors = [site for site in sites if site.rstrip("/").endswith("/debian")]
    if not mirrors:
        raise AptError("the apt of this machine has no Debian mirror: set ETCDUP_DEBIAN_MIRROR")
    return mirrors[0]
