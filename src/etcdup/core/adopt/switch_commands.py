"""The commands of a take-over on one host. Until `begin_command`, they change nothing that the old member uses."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from etcdup.core.adopt.foreign_unit import ForeignMember, switch_of
from etcdup.core.adopt.pod_script import FIND_KUBELET
from etcdup.core.adopt.switch_script import SWITCH_UNIT, switch_script, switch_unit
from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.host.actions import FileToWrite, HostAction, RunCommand, WriteFiles
from etcdup.core.host.content import TextContent
from etcdup.core.host.files import desired_files
from etcdup.core.host.install_commands import SYSUSERS
from etcdup.core.host.marker import marker_file
from etcdup.core.host.member_user import RIGHTS, own_folder
from etcdup.core.host.packages import tools_of
from etcdup.core.host.tool_links import link_tools
from etcdup.core.host.unproved import RUN_BINARY
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.plain_value import words

COPY_TIMEOUT_S = 120.0
CHECK_TIMEOUT_S = 120.0
_SWITCH_PATH = f"/etc/systemd/system/{SWITCH_UNIT}"


def prepare_commands(
    spec: Spec, host: HostSpec, observed: Observed, token: str, found: ForeignMember
) -> Iterator[HostAction]:
    """Yield the actions before the switch: the user, the binary that runs now, and all files next to their places."""
    layout, doing = layout_of(spec, host), "preparing the take-over"
    yield RunCommand(("sh", "-c", FORGET, "forget-switch", SWITCH_FOLDER), doing)
    users = TextContent(SYSUSERS.format(**words(data_dir=layout.data_dir)))
    yield WriteFiles((FileToWrite(layout.sysusers, users, 0o644, "root:root"),), doing)
    yield RunCommand(("systemd-sysusers", layout.sysusers), "creating the etcd user")
    yield RunCommand(own_folder(layout, layout.versions, "0755", "root:root"), doing)
    yield copy_binary_command(spec, layout, found)
    fresh = f"{layout.versions}/.current.new"
    yield from link_tools(layout)
    yield RunCommand(("ln", "-sfn", str(spec.version), fresh), doing)
    yield RunCommand(("mv", "-T", fresh, layout.current), doing)
    yield WriteFiles(
        tuple(_staged(spec, host, layout, observed, token, found)), "writing the files of etcdup"
    )


def copy_binary_command(spec: Spec, layout: Layout, found: ForeignMember) -> RunCommand:
    """Return the command that copies the program of the running process. User etcd runs it once, root never does."""
    version = str(spec.version)
    fresh, target = f"{layout.versions}/.{version}.new", layout.version_dir(version)
    others = [tool for tool in tools_of(spec.version) if tool != "etcd"]
    root = f"/proc/{found.pid}/root" if found.container or found.pod else ""
    arguments = (layout.user, fresh, target, version, RUN_BINARY, str(found.pid), root, *others)
    argv = ("sh", "-c", COPY_RUNNING, "copy-running", *arguments)
    return RunCommand(argv, f"copying the etcd {version} that runs", timeout_s=COPY_TIMEOUT_S)


def check_command(layout: Layout, found: ForeignMember) -> RunCommand:
    """Return the command that checks the host right before the switch. It changes nothing."""
    container = found.container.id if found.container else found.pod.group if found.pod else ""
    manifest = found.pod.manifests[0] if found.pod else ""
    folders = [path for pair in found.folders for path in pair]
    arguments = (
        layout.user,
        found.unit,
        container,
        manifest,
        str(found.pid),
        layout.pki,
        SWITCH_FOLDER,
        *folders,
    )
    argv = ("sh", "-c", CHECK, "check-switch", *arguments)
    return RunCommand(argv, "checking the old process and the data", timeout_s=CHECK_TIMEOUT_S)


def begin_command() -> RunCommand:
    """Return the command that starts the script. It does not wait for it, and can run again."""
    return RunCommand(
        ("sh", "-c", BEGIN, "begin-switch", SWITCH_FOLDER, SWITCH_UNIT), "switching to the unit of etcdup"
    )


def give_back_command() -> RunCommand:
    """Return the command that starts the script on the way back."""
    argv = ("sh", "-c", GIVE_BACK, "give-back", SWITCH_FOLDER, SWITCH_UNIT)
    return RunCommand(argv, "switching to the old unit")


def finish_commands(spec: Spec, host: HostSpec, observed: Observed, token: str) -> Iterator[HostAction]:
    """Yield the actions after the last take-over: the final settings, and no script that switches back.

    The settings require the common name of peers now. Each member uses them from its next restart on.
    """
    layout, doing = layout_of(spec, host), "writing the final settings"
    pki = replace(observed.pki, with_peer_names=True)
    files = [file for file in desired_files(spec, host, layout, token, pki) if file.path == layout.conf]
    yield WriteFiles(
        tuple(FileToWrite(each.path, each.content, each.mode, each.owner) for each in files), doing
    )
    yield RunCommand(("sh", "-c", END, "end-switch", SWITCH_FOLDER, _SWITCH_PATH), doing)


def stage_command(spec: Spec, host: HostSpec, observed: Observed, stage: str) -> WriteFiles:
    """Return the action that writes this stage into the marker. Without a stage, etcdup manages the host."""
    marker = observed.reachable()[host.name].marker_of(spec.name)
    assert marker is not None, "only hosts with a marker are taken over"
    changed = replace(marker, adopted=stage, settings=marker.settings if stage else "")
    return WriteFiles((marker_file(layout_of(spec, host), changed),), "writing the marker")


def _staged(
    spec: Spec, host: HostSpec, layout: Layout, observed: Observed, token: str, found: ForeignMember
) -> Iterator[FileToWrite]:
    """Yield the files of the switch. The script is the last one, so it has all of its input."""
    pki = replace(observed.pki, with_peer_names=False)
    placed: list[tuple[str, str]] = []
    for file in desired_files(spec, host, layout, token, pki):
        name = PurePosixPath(file.path).name
        placed.append((name, file.path))
        yield FileToWrite(f"{SWITCH_FOLDER}/new/{name}", file.content, file.mode, file.owner)
    if pki.changes:
        placed.append(("generation.json", layout.generation))
        yield FileToWrite(f"{SWITCH_FOLDER}/new/generation.json", _generation(pki), 0o644, "root:root")
    switch = switch_of(found)
    texts = [("files", _lines(placed)), ("renamed", _lines(switch.renamed))]
    if switch.manifest:  # for people: where the manifest of old/static-pod was
        texts.append(("manifest", _lines([("static-pod", switch.manifest)])))
    for name, text in (*texts, ("switch", switch_script(switch, layout))):
        yield FileToWrite(f"{SWITCH_FOLDER}/{name}", TextContent(text), 0o600, "root:root")
    yield FileToWrite(_SWITCH_PATH, TextContent(switch_unit(layout)), 0o644, "root:root")


def _generation(pki: PkiSeen) -> TextContent:
    values = {"generation": len(pki.changes), "change": pki.changes[-1]}
    return TextContent(json.dumps(values) + "\n")


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join("{} {}\n".format(*words(name=name, path=path).values()) for name, path in pairs)


# What an earlier take-over left that ended with the old member. `begun` is first: without it, nothing has begun.
FORGET = r"""
set -eu
mkdir -p -m 0700 -- "$1"
cd -- "$1"
rm -f begun
rm -f back new.done old.done placed why log old/enabled old/rights
mkdir -p -m 0700 new old
"""

# Root reads the program that runs. Programs next to it are read as user etcd, so a link cannot show another file. Only
# root can read those in a container. A link there could show a file of the host: it is not shown, if it is no program.
COPY_RUNNING = (
    RIGHTS
    + r"""
user=$1 new=$2 place=$3 version=$4 run_binary=$5 pid=$6 root=$7
shift 7
copy_inside() {
  [ -f "$1" ] && [ ! -L "$1" ] && (umask 077 && head -c 268435456 -- "$1" >"$2") || return
  case $(head -c 4 -- "$2") in ?ELF) ;; *) return 1 ;; esac
}
[ ! -x "$place/etcd" ] || exit 0
[ ! -e "$place" ] && [ ! -L "$place" ] || { echo "$place exists, and has no etcd" >&2; exit 1; }
become "$user"
rm -rf -- "$new"
mkdir -p -- "$new"
cp -- "/proc/$pid/exe" "$new/etcd"
chmod 0755 -- "$new" "$new/etcd"
sh -c "$run_binary" run-etcd "$user" "$new" "$version"
near=$(readlink "/proc/$pid/exe")
near=${near% (deleted)}
near=${near%/*} show=version
for tool in "$@"; do
  for each in "$root$near/$tool" "$near/$tool" "/usr/local/bin/$tool" "/usr/bin/$tool"; do
    rm -f -- "$new/$tool"
    if [ -n "$root" ] && [ "$each" = "$root$near/$tool" ]; then
      copy_inside "$each" "$new/$tool" 2>/dev/null || continue
    else
      $as cat "$each" >"$new/$tool" 2>/dev/null || continue
    fi
    chmod 0755 -- "$new/$tool"
    shown=$(cd / && $as "$new/$tool" "$show" 2>/dev/null) || shown=
    case "$shown " in *"version: $version"[[:space:]]*) break ;; esac
    : >"$new/$tool"
  done
  [ -s "$new/$tool" ] || rm -f -- "$new/$tool"
done
sync
mv -T -- "$new" "$place"
"""
)

# A hard link in a directory of another user could give any file to user etcd.
CHECK = (
    RIGHTS
    + FIND_KUBELET
    + r"""
user=$1 unit=$2 container=$3 manifest=$4 pid=$5 pki=$6 folder=$7
shift 7
become "$user"
if [ -n "$container" ]; then
  grep -q -s -F -e "$container" "/proc/$pid/cgroup"
else
  [ "$(systemctl show --property=MainPID --value "$unit")" = "$pid" ]
fi || { echo "${unit:-the container} was restarted since it was inspected" >&2; exit 1; }
[ ! -L "$pki" ] || { echo "$pki is a link" >&2; exit 1; }
if [ -n "$manifest" ]; then
  find_kubelet || { echo "no kubelet runs, and only a kubelet ends the pod of etcd" >&2; exit 1; }
  [ -f "$manifest" ] || { echo "$manifest is not a file any more" >&2; exit 1; }
  [ "$(stat -c %d -- "${manifest%/*}")" = "$(stat -c %d -- "$folder")" ] ||
    { echo "$manifest is on another file system than $folder, so it cannot be moved in one step" >&2; exit 1; }
fi
while [ $# -gt 0 ]; do
  each=$1 inside=$2
  shift 2
  [ "$each" -ef "/proc/$pid/root$inside" ] || { echo "$each is not what the process has as $inside" >&2; exit 1; }
  [ ! -L "$each" ] || { echo "$each is a link" >&2; exit 1; }
  (cd / && $as test -x "${each%/*}") || { echo "user etcd cannot enter ${each%/*}" >&2; exit 1; }
  linked=$(find "$each" -xdev ! -type d -links +1 -print -quit)
  [ -z "$linked" ] || { echo "$linked has more than one name" >&2; exit 1; }
done
"""
)

BEGIN = r"""
set -eu
: >"$1/begun"
sync -f "$1/begun"
systemctl daemon-reload
systemctl enable "$2"
systemctl start --no-block "$2"
"""

GIVE_BACK = r"""
set -eu
: >"$1/back"
rm -f "$1/old.done"
sync -f "$1/back"
systemctl daemon-reload
systemctl enable "$2"
systemctl restart --no-block "$2"
"""

# The files of the other tool stay in old/.
END = r"""
set -eu
rm -f -- "$1/begun" "$1/switch" "$2"
systemctl daemon-reload
"""
