"""The directories of a member that leaves: cluster.yaml has no entry for its host any more, so the host says them.

Otherwise etcdup would archive the directories of the other members there, and the data would stay where it is.
"""

import re

from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.spec.folder_rules import is_system_folder
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.plain_value import is_word

_WAL_DIR = re.compile(r'^ETCD_WAL_DIR="([^"\n]+)"$', re.MULTILINE)


def with_own_folders(spec: Spec, host: HostSpec, seen: HostSeen | Unreachable) -> HostSpec:
    """Return the host with the directories of its marker and of its settings, as far as they can be those of a member.

    A host decides about its own directories only.
    """
    marker = seen.marker_of(spec.name) if isinstance(seen, HostSeen) else None
    if marker is None or not isinstance(seen, HostSeen):
        return host
    root = host.root or ""
    found = {"data_dir": marker.data_dir, "wal_dir": _wal_dir(spec, host, seen)}
    own = {key: folder.removeprefix(root) for key, folder in found.items() if folder.startswith(f"{root}/")}
    changed = {key: folder for key, folder in own.items() if folder != getattr(spec, key)(host)}
    return host.model_copy(update={key: each for key, each in changed.items() if _is_usable(each)})


def _wal_dir(spec: Spec, host: HostSpec, seen: HostSeen) -> str:
    conf = seen.files.get(layout_of(spec, host).conf)
    written = _WAL_DIR.search(conf.text) if conf is not None and conf.text else None
    return seen.unit.environment.get("ETCD_WAL_DIR", "") or (written[1] if written else "")


def _is_usable(folder: str) -> bool:
    return (
        is_word(folder) and ".." not in folder.split("/") and not is_system_folder(folder.rstrip("/") or "/")
    )
