"""The architecture of a program, from its ELF header (elf.h: e_ident, then e_machine at byte 18)."""

import platform
from pathlib import Path

from etcdup.core.observed.parse_probe import ARCHES

_MACHINES = {3: "386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}


def arch_of(program: Path) -> str | None:
    """Return `amd64`, `arm64`, ..., or None if the file is not an ELF program, for example a script."""
    with program.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    machine = int.from_bytes(header[18:20], "big" if header[5] == 2 else "little")
    return _MACHINES.get(machine, f"ELF machine {machine}")


def this_arch() -> str:
    """Return the architecture of the machine that etcdup runs on, with the name that etcd uses."""
    machine = platform.machine()
    return ARCHES.get(machine, machine)
