"""The content of a file: a text, or a reference to a certificate, a key, a CA file or a revocation list."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextContent:
    """The content of a file without secrets."""

    text: str


@dataclass(frozen=True)
class CertContent:
    """A certificate or its key, by role, for example `server/infra1`. Its bytes stay in the PKI until it is sent."""

    role: str
    part: Literal["cert", "key"]


@dataclass(frozen=True)
class CaContent:
    """A CA file, by kind: `ca` or `peer-ca`."""

    kind: str


@dataclass(frozen=True)
class CrlContent:
    """A certificate revocation list, by kind: `crl` or `peer-crl`."""

    kind: str


Content = TextContent | CertContent | CaContent | CrlContent
