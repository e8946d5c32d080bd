"""What a member's mark has to know of restores that its cluster has been through.

Whether an old member is of the past (superseded.py), and how far the next restore must raise revisions (rule 58), is
read from marks alone. So whoever joins takes over what the others know, and no exchange of hosts makes it forgotten.
"""

import json
from dataclasses import asdict

from etcdup.core.host.actions import FileToWrite
from etcdup.core.host.content import TextContent
from etcdup.core.observed.model import Marker, Observed, Restored
from etcdup.core.spec.layout import Layout


def inherited_restore(host: str, observed: Observed, token: str, *, anew: bool = False) -> Restored | None:
    """For the mark of a member of the cluster with this token. Its own word goes first, unless it begins `anew`: what
    was moved aside on its host is then no data that an undo could go back to."""
    marks = {
        name: seen.marker
        for name, seen in sorted(observed.reachable().items())
        if seen.marker is not None and seen.marker.token == token
    }
    own = marks[host].restored if host in marks else None
    if own is not None and not anew:
        return own
    known = [mark.restored for mark in marks.values() if mark.restored is not None]
    if not known:
        return None
    former = tuple(dict.fromkeys(each for restored in known for each in restored.former))
    bump = max(restored.bump for restored in known)
    return Restored(sha256="", stage="joined", aside="", bump=bump, former=former)


def marker_text(marker: Marker) -> str:
    """The marker as it stands on the host."""
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
    if marker.restored:
        values["restored"] = asdict(marker.restored)
    return json.dumps(values, indent=1) + "\n"


def marker_file(layout: Layout, marker: Marker) -> FileToWrite:
    """The host's mark, as a file to be put in place."""
    return FileToWrite(layout.marker, TextContent(marker_text(marker)), 0o644, "root:root")
