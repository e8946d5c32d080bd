"""The marker file of a host, and the history of restores in it.

Only the markers say whether a host belongs to a superseded cluster (superseded.py), and how much the next restore must
raise the revisions (rule 58). So a new member copies this history from the markers of the other members. It is then
never lost, even if all hosts are replaced one after the other.
"""

import json
from dataclasses import asdict

from etcdup.core.host.actions import FileToWrite
from etcdup.core.host.content import TextContent
from etcdup.core.observed.marker import COMPLETE, Marker, Restored
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import Layout

# The values of a restore that most restores do not have.
_OPTIONAL = ("undoes", "again", "members")


def inherited_restore(
    host: str, observed: Observed, token: str, *, ignore_own: bool = False
) -> Restored | None:
    """Return the history of restores for the marker of a member of the cluster with this token.

    It is the history in the host's own marker, or otherwise that of the other members. `ignore_own` is for a member
    that starts without data: an undo cannot use the data that is archived on its host.
    """
    markers = {
        name: seen.marker
        for name, seen in sorted(observed.reachable().items())
        if seen.marker is not None and seen.marker.token == token
    }
    own = markers[host].restored if host in markers else None
    if own is not None and not ignore_own:
        return own
    known = [marker.restored for marker in markers.values() if marker.restored is not None]
    if not known:
        return None
    former = tuple(dict.fromkeys(each for restored in known for each in restored.former))
    bump = max(restored.bump for restored in known)
    sha256 = next((restored.sha256 for restored in known if restored.stage in COMPLETE), "")
    return Restored(sha256, stage="joined", aside="", bump=bump, former=former)


def marker_text(marker: Marker) -> str:
    """Return the content of the marker file."""
    values: dict[str, object] = {
        "cluster": marker.cluster,
        "member": marker.member,
        "token": marker.token,
        "data_dir": marker.data_dir,
        "formed": marker.formed,
    }
    if marker.replaces:
        values["replaces"] = marker.replaces
    if marker.mount:
        values["mount"] = True
    if marker.endpoints:
        values["endpoints"] = list(marker.endpoints)
    if marker.etcd_name not in ("", marker.member):
        values["etcd_name"] = marker.etcd_name
    if marker.adopted:
        values["adopted"] = marker.adopted
    if marker.settings:
        values["settings"] = marker.settings
    if marker.restored:
        history = asdict(marker.restored)
        values["restored"] = {
            name: value for name, value in history.items() if value or name not in _OPTIONAL
        }
    return json.dumps(values, indent=1) + "\n"


def marker_file(layout: Layout, marker: Marker) -> FileToWrite:
    """Return the marker file to write on the host."""
    return FileToWrite(layout.marker, TextContent(marker_text(marker)), 0o644, "root:root")
