"""Guards for CA files: a host with the CA of another PKI, and a change of provided CA and certificates at once."""

from collections.abc import Collection

from etcdup.core.certs.ca_rotation import PROVIDED_CA_HINT, runs_with_other_ca
from etcdup.core.host.content import CaContent, CertContent
from etcdup.core.host.files import pki_files
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec


def refuse_other_ca(spec: Spec, seen: HostSeen, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a host that trusts a CA which this PKI never had: `tls.dir` is then the wrong directory."""
    host = spec.host(seen.host)
    on_host = seen.files.get(layout_of(spec, host).ca())
    ours = observed.pki.trust.get("ca")
    if spec.tls.mode != "managed" or on_host is None or seen.marker is None:
        return ()
    if on_host.sha256 == ours or on_host.sha256 in observed.pki.past:
        return ()
    if changed := refuse_changed_ca(spec, seen, observed):
        return changed
    message = (
        f"{seen.host} trusts a CA that is not in {spec.tls.dir}: the directory is of another cluster, or an older copy"
        if ours
        else f"{seen.host} has certificates of a CA, and {spec.tls.dir} on this machine has no CA"
    )
    hint = _other_ca_hint(spec.tls.dir, has_ca=bool(ours), was_managed=bool(seen.pki_change))
    return (Refused(message, hint, seen.host, rules=(15, 20)),)


def _other_ca_hint(pki: str, *, has_ca: bool, was_managed: bool) -> str:
    """Return the way back to the PKI of the hosts. `was_managed`: etcdup wrote the certificates of the host."""
    moved = f"move {pki} to another directory. Then " if has_ca else ""
    hint = (
        f"check that this is the cluster.yaml of these hosts. If it is, {moved}copy the directory {pki} from the "
        "machine that changed this cluster last, or get it from a backup with `etcdup backup pki --identity FILE`. "
        "With a second CA, the members reject each other"
    )
    if was_managed:
        return hint
    return (
        "if the certificates of this cluster were provided, write `mode: provided` and its files back below `tls` in "
        f"cluster.yaml. Otherwise {hint}"
    )


def refuse_changed_ca(spec: Spec, seen: HostSeen, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a host whose CA file was changed there: the PKI has its last change, and another host has the same CA.

    A newer PKI would have made a change that this one does not have.
    """
    pki, path = observed.pki, layout_of(spec, spec.host(seen.host)).ca()
    known = {digest for digest in (pki.trust.get("ca"), *pki.past) if digest}
    file = seen.files.get(path)
    if (
        spec.tls.mode != "managed"
        or file is None
        or file.sha256 in known
        or seen.pki_change not in pki.changes
    ):
        return ()
    others = _hosts_with_ca(spec, observed, known)
    if not others:
        return ()
    message = (
        f"{seen.host}: {path} was changed there: {', '.join(others)} trust{'s' * (len(others) == 1)} the CA in "
        f"{spec.tls.dir}, and {seen.host} another one"
    )
    hint = (
        f"run `mv {path} {path}.changed` on {seen.host}, then `etcdup apply`, which writes the file again. If etcd was "
        f"restarted with the changed file, then run `systemctl restart etcd` on {seen.host}"
    )
    return (Refused(message, hint, seen.host, rules=(15, 20)),)


def _hosts_with_ca(spec: Spec, observed: Observed, digests: Collection[str]) -> list[str]:
    """Return the hosts of this cluster and this PKI whose CA file has one of the digests."""
    reached = observed.reachable()
    return [
        host.name
        for host in spec.hosts
        if (each := reached.get(host.name))
        and each.is_marked(spec.name)
        and each.pki_change in observed.pki.changes
        and (file := each.files.get(layout_of(spec, host).ca()))
        and file.sha256 in digests
    ]


def refuse_ca_swap(spec: Spec, seen: HostSeen, pki: PkiSeen) -> tuple[Refused, ...]:
    """Refuse to replace provided CA files and certificates at once.

    A member that does not trust the new CA file yet must not get a new certificate, and must not see one of another
    member. It is unknown whether the old CA file is enough for the new certificate: only its digest is known.
    """
    if spec.tls.mode != "provided" or seen.marker is None or not seen.marker.formed:
        return ()
    host = spec.host(seen.host)
    layout = layout_of(spec, host)
    wanted = {
        file.path: file.sha256
        for file in pki_files(host, layout, pki)
        if isinstance(file.content, CertContent | CaContent)
    }
    changed = [
        path for path, digest in wanted.items() if (file := seen.files.get(path)) and file.sha256 != digest
    ]
    trusts = not {layout.ca(), layout.ca("peer")}.intersection(changed) and not runs_with_other_ca(seen, pki)
    leaves = [path for path in changed if path not in (layout.ca(), layout.ca("peer"))]
    if trusts or not leaves:
        return ()
    return (
        Refused(
            f"{seen.host} would get another CA file and other certificates in one run: until all members have both, "
            "they would reject each other",
            hint=PROVIDED_CA_HINT,
            host=seen.host,
            rules=(15,),
        ),
    )
