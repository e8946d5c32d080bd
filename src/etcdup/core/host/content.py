"""What a file contains: text, a certificate or a CA, the last two only by reference."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextContent:
    """A file that holds no secret."""

    text: str


@dataclass(frozen=True)
class CertContent:
    """A certificate, or its key, by role: `server/infra1`. Its bytes stay in the PKI until they are sent."""

    role: str
    part: Literal["cert", "key"]


@dataclass(frozen=True)
class CaContent:
    """A CA file: `ca` or `peer-ca`."""

    kind: str


Content = TextContent | CertContent | CaContent
