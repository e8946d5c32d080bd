"""The generation of the PKI directory: it identifies an older copy of the directory.

Each change of the CA or of a member's certificate gets a random name. The PKI directory has the names of all its
changes, and a host has the name of the last change whose certificates were written to it. A copy of the directory that
does not have the change of a host is older than the copy that was used there, or two copies were changed separately.

What a host reports counts for that host only. So one host that has an unknown change is not enough. A second witness is
another host with the same change, or a certificate of the host that our CA signed after the certificate in this copy.
"""

from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

WITNESSES = 2


def unknown_changes(observed: Observed) -> dict[str, str]:
    """Return the change of each host whose change is not in this copy of the PKI."""
    return {
        name: seen.pki_change
        for name, seen in sorted(observed.reachable().items())
        if seen.pki_change and seen.marker is not None and seen.pki_change not in observed.pki.changes
        if not _has_provided_ca(seen, observed.pki)
    }


def _has_provided_ca(seen: HostSeen, pki: PkiSeen) -> bool:
    """Return whether a host has the provided CA that this PKI replaces: its change is of a PKI before that one."""
    return pki.is_from_provided and any(file.sha256 in pki.past for file in seen.files.values())


def refuse_stale_pki(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse if two witnesses show that this copy of the PKI is older than another one."""
    if spec.tls.mode != "managed" or observed.pki.ca is None:
        return ()
    evidence = _newer_leaves(observed) or _several_hosts(unknown_changes(observed))
    if not evidence:
        return ()
    folder = spec.tls.dir
    return (
        Refused(
            f"{folder} is an older copy of the PKI directory: {evidence}",
            hint=f"if the machine that changed the cluster last has a newer copy, move {folder} to another directory, "
            f"copy {folder} from that machine, and run the same command again. If no newer copy exists, leave {folder} "
            "in place, and run `etcdup certs renew --this-copy`, which makes this copy the newest one",
            rules=(20,),
        ),
    )


def stale_pki_notes(observed: Observed) -> tuple[str, ...]:
    """Return a note for each host that is the only one with an unknown change."""
    return tuple(
        f"{name} has certificates of a change of the PKI that is not in this copy. No other host confirms it"
        for name in unknown_changes(observed)
    )


def _newer_leaves(observed: Observed) -> str:
    """Return which host has a newer certificate of our CA, as text; empty if there is none."""
    for name, leaf in sorted(observed.other_leaves.items()):
        seen, ours = observed.reachable().get(name), observed.pki.certs.get(f"server/{name}")
        if seen is not None and _is_newer(leaf, ours, seen, observed):
            than = f"one of {ours.not_before:%Y-%m-%d %H:%M} UTC" if ours else "none"
            return f"{name} has a certificate of {leaf.not_before:%Y-%m-%d %H:%M} UTC, and this copy has {than} for it"
    return ""


def _is_newer(leaf: CertSeen, ours: CertSeen | None, seen: HostSeen, observed: Observed) -> bool:
    """Return whether another copy issued this certificate later.

    A certificate that is not valid yet was issued with a wrong clock. A known change is older than this copy.
    """
    if (
        seen.pki_change in observed.pki.changes
        or leaf.common_name != seen.host
        or leaf.not_before > observed.at
    ):
        return False
    return ours is None or leaf.not_before > ours.not_before


def _several_hosts(unknown: dict[str, str]) -> str:
    """Return which hosts have the same unknown change, as text; empty if there are none."""
    for change in dict.fromkeys(unknown.values()):
        names = [name for name, each in unknown.items() if each == change]
        if len(names) >= WITNESSES:
            return f"{', '.join(names)} have certificates of a change that is not in this copy"
    return ""
