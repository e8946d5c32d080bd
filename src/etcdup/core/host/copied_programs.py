"""The programs of etcd that a host has, and which of them other hosts may get (`install: {from: host}`).

What a host says counts for this host only. So other hosts get its programs only if a second host has the same ones, or
if cluster.yaml has their SHA-256. It is one sum of all programs, one after the other:

    cat etcd etcdctl etcdutl | sha256sum
"""

import re
from collections.abc import Mapping, Sequence

from etcdup.core.host.member_user import RIGHTS
from etcdup.core.host.packages import tools_of
from etcdup.core.observed.binaries import ProgramsSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.version import Version
from etcdup.core.spec.visible import one_line

Argv = tuple[str, ...]

_SUM = re.compile(r"([0-9a-f]{64})  -", re.ASCII)
_LONGEST_PATH = 4096
# The programs run as this user, and files next to a running etcd are read as this user.
_USER = "nobody"


class UnreadablePrograms(ValueError):
    """The host does not have all programs, or printed something else. The text says what, and is safe."""


def programs_argv(place: str, version: Version) -> Argv:
    """Return the command that prints the paths and the sum of the programs. It changes nothing.

    `place` is a directory of etcdup, or the PID of the running member. Next to a running member, and in /usr/local/bin
    and /usr/bin, only programs of this version count.
    """
    others = [tool for tool in tools_of(version) if tool != "etcd"]
    return ("sh", "-c", PROGRAMS, "programs", _USER, place, str(version), *others)


def read_argv(path: str, number: int, block_bytes: int) -> Argv:
    """Return the command that prints a block of a program in base64. The first block has the number 0."""
    return ("sh", "-c", READ_BLOCK, "read-block", _USER, path, str(number), str(block_bytes))


def parse_programs(host: str, version: Version, output: str) -> ProgramsSeen:
    """Return the programs of a host. Raise UnreadablePrograms if it does not have all of them."""
    lines = output.splitlines()
    if len(lines) == 1 and lines[0] in [f"missing {tool}" for tool in tools_of(version)]:
        raise UnreadablePrograms(f"it has no {lines[0].removeprefix('missing ')} of this version")
    sums = _SUM.fullmatch(lines[-1]) if lines else None
    paths = tuple(lines[:-1])
    if sums is None or len(paths) != len(tools_of(version)) or not all(map(_is_path, paths)):
        raise UnreadablePrograms(f"its answer is not readable: {one_line(output, 100)}")
    return ProgramsSeen(host, paths, sums[1])


def _is_path(line: str) -> bool:
    return line.startswith("/") and line.isprintable() and len(line) <= _LONGEST_PATH


def choose_programs(
    version: Version, arch: str, found: Sequence[ProgramsSeen], faults: Mapping[str, str], expected: str
) -> ProgramsSeen | Refused:
    """Return the programs for hosts of this architecture, or why etcdup copies none.

    `faults` says why other hosts have none. `expected` is the SHA-256 in cluster.yaml, if there is one.
    """
    what, listing = f"programs of etcd {version} for {arch}", _listing(found, faults)
    if not found:
        message = f"`install: {{from: host}}`: no host has all {what}{listing and f': {listing}'}"
        return Refused(message, _hint_of_none(version, missing=bool(faults)), rules=(52,))
    if expected:
        chosen = next((each for each in found if each.sha256 == expected.lower()), None)
        message = f"no host has the {what} with the sum {expected.lower()} of `install.sha256`: {listing}"
        hint = f"find out which programs these are. Change `{arch}` in `install.sha256` only if the sum there is wrong"
        return chosen or Refused(message, hint, rules=(52,))
    if len({each.sha256 for each in found}) > 1:
        return Refused(
            f"the hosts have different {what}: {listing}", _hint_of_sum(version, arch), rules=(52,)
        )
    if len(found) == 1:
        message = f"only {found[0].host} has the {what}, and no second host proves them: {listing}"
        return Refused(message, _hint_of_sum(version, arch), rules=(52,))
    return found[0]


def _listing(found: Sequence[ProgramsSeen], faults: Mapping[str, str]) -> str:
    """Return the sum of each host, or why it has none."""
    hosts: dict[str, list[str]] = {}
    for name, answer in [*((each.host, each.sha256) for each in found), *faults.items()]:
        hosts.setdefault(answer, []).append(name)
    return "; ".join(f"{', '.join(names)}: {answer}" for answer, names in hosts.items())


def _hint_of_sum(version: Version, arch: str) -> str:
    return (
        f"compare the sum with programs that you trust: `cat {' '.join(tools_of(version))} | sha256sum`. Then write "
        f"`sha256: {{{arch}: SUM}}` below `install` in cluster.yaml, and run the same command again"
    )


def _hint_of_none(version: Version, *, missing: bool) -> str:
    other = (
        f"write another source of etcd {version}, for example `install: {{from: release}}`, in cluster.yaml"
    )
    if not missing:
        return f"{other}, and run the same command again"
    return f"install what is missing on two hosts, for example the package etcd-client; or {other}"


# Root runs none of these programs. It reads only the program that runs, and those in the directory of etcdup, which
# other users cannot change. A user without rights reads what is next to the running program, so a link there cannot
# show another file.
PROGRAMS = (
    RIGHTS
    + r"""
become "$1"
place=$2 version=$3 others= show=version
shift 3
case $place in
  /*) exe=$place/etcd ;;
  *)
    exe=/proc/$place/exe others="/usr/local/bin /usr/bin"
    place=$(readlink "$exe")
    place=${place% (deleted)}
    place=${place%/*} ;;
esac
[ -r "$exe" ] || { echo "missing etcd"; exit 0; }
for tool; do
  found=
  for each in "$place" $others; do
    shown=$(cd / && $as "$each/$tool" "$show" 2>/dev/null) || continue
    case "$shown " in *"version: $version"[[:space:]]*) found=$each/$tool && break ;; esac
  done
  [ -n "$found" ] || { echo "missing $tool"; exit 0; }
  shift
  set -- "$@" "$found"
done
printf '%s\n' "$exe" "$@"
{ cat -- "$exe"; for each; do $as cat -- "$each"; done; } | sha256sum
"""
)

READ_BLOCK = (
    RIGHTS
    + r"""
as=
case $2 in /proc/*) ;; *) become "$1" ;; esac
$as dd if="$2" bs="$4" skip="$3" count=1 iflag=fullblock 2>/dev/null | base64 -w 0
"""
)
