"""The source of the binaries of a version."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from etcdup.core.spec.version import Version


@dataclass(frozen=True)
class ProgramsSeen:
    """The programs of one version of etcd on a host. `sha256` is of their contents, one after the other.

    `paths` are in the order of `tools_of`.
    """

    host: str
    paths: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Binaries:
    """The source of the required version. It is chosen before planning, so that the plan can show it.

    `source` is cache, release, package, go, path or host, and `why` is the reason for this choice. `sha256` maps an
    architecture to the hash of its archive. It is empty for packages, which the package manager of the host verifies,
    and for programs of a host: `programs` has their hash, by architecture.
    """

    version: Version
    source: str
    origin: str
    why: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, ProgramsSeen] = field(default_factory=dict)

    @property
    def is_vouched(self) -> bool:
        """Return True if the operator or a distribution provides the binaries. They may have additional patches."""
        return self.source in ("package", "path", "host")
