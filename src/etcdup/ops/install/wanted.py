"""The request to a source: the part of the Spec that sources need, with absolute paths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.core.spec.model import Spec, resolve_from_folder
from etcdup.core.spec.version import Version
from etcdup.ops.install.pins import load_pins, trusted_sums

GITHUB = "https://github.com/etcd-io/etcd/releases/download"


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection, and then for the next byte."""

    connect_s: float = 10.0
    stall_s: float = 20.0


@dataclass(frozen=True)
class SourceRequest:
    """The request. `path` is install.path as an absolute path; `path_for` replaces `{arch}` in it.

    `sums` are the trusted checksums of the tarballs, by architecture. No other tarball of a release is used. For
    programs of a host, they are the sums of the programs.
    """

    source: str
    version: Version
    arches: tuple[str, ...]
    cache: Path
    base: str
    path: str | None
    report: Callable[[str], None]
    sums: Mapping[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def path_for(self, arch: str) -> Path:
        assert self.path is not None, "resolve refuses `from: path` without a path"
        return Path(self.path.replace("{arch}", arch))


def source_request(
    spec: Spec, folder: Path, arches: frozenset[str], cache: Path, report: Callable[[str], None]
) -> SourceRequest:
    """Return the request of this Spec. Raises InstallError if `install.sha256` contradicts a pinned checksum."""
    path, given = spec.install.path, spec.install.sha256
    return SourceRequest(
        source=spec.install.source,
        version=spec.version,
        arches=tuple(sorted(arches)),
        cache=cache,
        base=(spec.install.mirror or GITHUB).rstrip("/"),
        path=str(Path(resolve_from_folder(path, str(folder.absolute()))).expanduser()) if path else None,
        report=report,
        sums=given
        if spec.install.source in ("path", "host")
        else trusted_sums(spec.version, given, load_pins()),
    )
