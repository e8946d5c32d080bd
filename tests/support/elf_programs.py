"""Files with the header of a Linux program of an architecture, and tarballs of them with the layout of a release."""

import os
import struct
from pathlib import Path

from etcdup.core.host.packages import tools_of
from etcdup.core.spec.version import Version
from etcdup.ops.install.archive import pack

MACHINES = {"amd64": 62, "arm64": 183}


def program_for(arch: str, body: bytes = b"") -> bytes:
    """Return an ELF header (elf.h) without code."""
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    return ident + struct.pack("<HHI", 2, MACHINES[arch], 1) + bytes(40) + body


def release_of(folder: Path, version: Version, arch: str, *, padding: int = 0) -> bytes:
    """Return a tarball like that of a release. `padding` bytes in it cannot be compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    tools = {name: folder / name for name in tools_of(version)}
    for name, path in tools.items():
        path.write_bytes(program_for(arch, name.encode() + os.urandom(padding // len(tools))))
    tarball = folder / "release.tar.gz"
    pack(tools, version, arch, tarball, level=1)
    return tarball.read_bytes()
