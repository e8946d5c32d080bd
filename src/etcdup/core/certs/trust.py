"""Whether a host's CA file is one that this PKI had, and whether provided files may be exchanged."""

from etcdup.core.certs.ca_rotation import runs_with_other_ca
from etcdup.core.host.content import CaContent, CertContent
from etcdup.core.host.files import desired_files
from etcdup.core.observed.model import HostSeen, Observed, PkiSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec


def refuse_other_ca(spec: Spec, seen: HostSeen, observed: Observed) -> tuple[Refused, ...]:
    """A host that trusts a CA which this `pki` never had means that `pki` is the wrong folder."""
    host = spec.host(seen.host)
    there = seen.files.get(layout_of(spec, host).ca())
    ours = observed.pki.trust.get("ca")
    if spec.tls.mode != "managed" or there is None or seen.marker is None:
        return ()
    if there.sha256 == ours or there.sha256 in observed.pki.past:
        return ()
    return (
        Refused(
            f"{seen.host} trusts a CA that is not the one in {spec.tls.dir}",
            hint=f"bring back the folder {spec.tls.dir} that this cluster was made with; "
            "a second CA would cut the members off from each other",
            host=seen.host,
            rules=(15, 20),
        ),
    )


def refuse_ca_swap(spec: Spec, seen: HostSeen, pki: PkiSeen) -> tuple[Refused, ...]:
    """Provided files: a member that does not trust the new CA file yet gets no new leaf, and no other member is to show
    it one. Whether the old CA file would do for the new leaf cannot be told: of it only its digest is known."""
    if spec.tls.mode != "provided" or seen.marker is None or not seen.marker.formed:
        return ()
    wanted = {
        file.path: file.sha256
        for file in desired_files(spec, spec.host(seen.host), layout_of(spec, spec.host(seen.host)), "", pki)
        if isinstance(file.content, CertContent | CaContent)
    }
    other = [
        path for path, digest in wanted.items() if (there := seen.files.get(path)) and there.sha256 != digest
    ]
    layout = layout_of(spec, spec.host(seen.host))
    trusts = not {layout.ca(), layout.ca("peer")}.intersection(other) and not runs_with_other_ca(seen, pki)
    leaves = [path for path in other if path not in (layout.ca(), layout.ca("peer"))]
    if trusts or not leaves:
        return ()
    return (
        Refused(
            f"{seen.host} would get another CA file and other certificates at once: members that have "
            "the one and not the other yet would be cut off from each other",
            hint="one after the other: put the old CA and the new one into the file of `tls.ca`, with the old "
            "certificates, and `etcdup apply`; then the new certificates, and apply; then the new CA alone, and apply",
            host=seen.host,
            rules=(15,),
        ),
    )
