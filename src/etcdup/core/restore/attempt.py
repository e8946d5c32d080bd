"""The attempt of a restore, as the markers of the hosts record it: its token, its file, and whether it is complete."""

from collections.abc import Collection

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.marker import COMPLETE, Marker
from etcdup.core.observed.model import Observed
from etcdup.core.restore.lost_hosts import must_prepare_again, serves_clients
from etcdup.core.spec.model import Spec


def restore_token(spec: Spec, observed: Observed, fresh: str) -> str:
    """Return the token of the restore that is in progress, or `fresh`."""
    return token_to_resume(spec, observed, fresh, own_markers(spec, observed))


def token_to_resume(spec: Spec, observed: Observed, fresh: str, markers: Collection[Marker]) -> str:
    """Return the token of the attempt in progress that these markers have, or `fresh`.

    It is `fresh` if no attempt is in progress, or if all hosts must be prepared again. A marker names the tokens of
    abandoned attempts. It is the word of one host, so an attempt whose members serve clients is not abandoned.
    """
    begun = sorted({marker.token for marker in markers if marker.is_being_restored})
    abandoned = {token for marker in markers if marker.restored for token in marker.restored.former}
    serving = [token for token in begun if serves_clients(spec, observed, token)]
    going_on = serving or [token for token in begun if token not in abandoned]
    return going_on[0] if going_on and not must_prepare_again(spec, observed, going_on[0]) else fresh


def begun_restore(spec: Spec, observed: Observed) -> str:
    """Return the sha256 of the snapshot whose restore is in progress; empty if there is none."""
    begun = [
        marker.restored.sha256
        for marker in own_markers(spec, observed)
        if marker.restored
        and marker.is_being_restored
        and marker.restored.stage != "undo"
        and not marker.restored.undoes
    ]
    return min(begun, default="")


def was_restored(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> bool:
    """Return whether the last complete restore of the present cluster was from this file.

    Members that joined after the restore have its sha256 from the markers of the others (core/host/marker.py).
    """
    markers = own_markers(spec, observed)
    past = {token for marker in markers if marker.restored for token in marker.restored.former}
    present = [marker for marker in markers if marker.token not in past]
    if len({marker.token for marker in present}) != 1 or any(marker.is_being_restored for marker in present):
        return False
    restored = [marker.restored for marker in present if marker.restored]
    return any(each.stage in COMPLETE and each.sha256 == snapshot.sha256 for each in restored)


def own_markers(spec: Spec, observed: Observed) -> list[Marker]:
    """Return the markers of this cluster on the hosts of cluster.yaml."""
    hosts = map(observed.reachable().get, (host.name for host in spec.hosts))
    return [marker for seen in hosts if seen and (marker := seen.marker_of(spec.name))]
