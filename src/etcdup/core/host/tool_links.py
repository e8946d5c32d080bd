"""The links to the programs of etcd in /usr/local/bin. Only etcdup's own links are replaced or removed.

Another program of that name can be a wrapper of the operator, or the etcd of another cluster.
"""

from collections.abc import Iterator

from etcdup.core.host.actions import RunCommand
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.layout import Layout

TOOLS = ("etcd", "etcdctl", "etcdutl")

# Arguments: the directory of the versions, that of the links, and the names. A missing link is no fault of a member.
LINK_TOOLS = """\
versions=$1 links=$2
shift 2
for tool in "$@"; do
  case $(readlink -- "$links/$tool") in
    "$versions"/*) ;;
    *) if [ -e "$links/$tool" ] || [ -L "$links/$tool" ]; then continue; fi ;;
  esac
  ln -sfn -- "$versions/current/$tool" "$links/$tool" || :
done
"""
UNLINK_TOOLS = """\
versions=$1 links=$2
shift 2
for tool in "$@"; do
  case $(readlink -- "$links/$tool") in "$versions"/*) rm -f -- "$links/$tool" ;; esac
done
"""


def link_tools(layout: Layout) -> Iterator[RunCommand]:
    """Yield the command that makes the links whose names are free, or whose links are etcdup's own."""
    if layout.links:
        argv = ("sh", "-c", LINK_TOOLS, "link-tools", layout.versions, layout.links, *TOOLS)
        yield RunCommand(argv, "linking the programs of etcd")


def unlink_tools(layout: Layout) -> Iterator[RunCommand]:
    """Yield the command that removes etcdup's own links."""
    if layout.links:
        argv = ("sh", "-c", UNLINK_TOOLS, "unlink-tools", layout.versions, layout.links, *TOOLS)
        yield RunCommand(argv, "removing the links to the programs of etcd")


def foreign_tool_notes(seen: HostSeen, layout: Layout) -> Iterator[str]:
    """Yield the programs of these names that etcdup did not make, before the first links are made."""
    if seen.marker is not None:
        return
    paths = [fault.path for fault in seen.path_faults if fault.kind == "foreign"]
    if paths:
        yield (
            f"{seen.host}: {', '.join(paths)} was not made by etcdup and stays. "
            f"The programs of etcdup are in {layout.current}"
        )
