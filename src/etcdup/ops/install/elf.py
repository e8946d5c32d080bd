"""Which architecture a program is for, by its ELF header (elf.h: e_ident, then e_machine at byte 18)."""

import platform
from pathlib import Path

from etcdup.core.observed.parse_probe import ARCHES

_MACHINES = {3: "386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}


def arch_of(program: Path) -> str | None:
    """`amd64`, `arm64`, ...; None for what is no ELF program (a script, another system's format)."""
    with program.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    machine = int.from_bytes(header[18:20], "big" if header[5] == 2 else "little")
    return _MACHINES.get(machine, f"ELF machine {machine}")


def this_arch() -> str:
    """The architecture of the machine that etcdup runs on, in etcd's words."""
    machine = platform.machine()
    return ARCHES.get(machine, machine)
