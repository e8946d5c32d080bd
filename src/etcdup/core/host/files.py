"""Derive the files of a member from Spec and host: text, or references to certificates and keys.

Pure and deterministic: the same cluster.yaml always gives the same bytes. So a different content is always drift.
"""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from etcdup.core.host.content import CaContent, CertContent, Content, CrlContent, TextContent
from etcdup.core.host.settings import CRL_VARIABLES, Settings, settings_of, show_settings
from etcdup.core.host.unit import start_script, unit_text
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.spec.layout import MEMBER_CERTS, Layout
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.names import peer_common_name

# The value of ETCDUP_TRUST for CA files that do not exist yet. No running process has this value.
UNWRITTEN = "not-written-yet"


@dataclass(frozen=True)
class DesiredFile:
    """A file as cluster.yaml requires it. `sha256` is None for a certificate that is not issued yet."""

    path: str
    content: Content
    sha256: str | None
    mode: int
    owner: str


def desired_files(
    spec: Spec, host: HostSpec, layout: Layout, token: str, pki: PkiSeen
) -> tuple[DesiredFile, ...]:
    """Return all files below /etc that etcdup writes on a host, in the order in which they are written.

    Each key is right before its certificate, and one script renames both, one after the other (remote/scripts.py). So a
    new pair does not match only between two system calls (rule 16). A renewal keeps the key: its pair always matches.
    The revocation lists are before the settings that name them: without a list, etcd serves no new connection.
    """
    return (
        *pki_files(host, layout, pki),
        _text_file(
            layout.conf, show_settings(desired_settings(spec, host, layout, token, pki)), 0o640, "root:etcd"
        ),
        start_file(spec, host, layout),
    )


def desired_paths(host: HostSpec, layout: Layout, pki: PkiSeen) -> tuple[str, ...]:
    """Return the paths of all files of `desired_files`."""
    return (*(file.path for file in pki_files(host, layout, pki)), layout.conf, layout.unit)


def pki_files(host: HostSpec, layout: Layout, pki: PkiSeen) -> tuple[DesiredFile, ...]:
    """Return the files of a host that are from the PKI: CA files, revocation lists, keys and certificates."""
    return (*_ca_files(layout, pki), *_crl_files(layout, pki), *_cert_files(host, layout, pki))


def handshake_files(host: HostSpec, layout: Layout, pki: PkiSeen) -> tuple[DesiredFile, ...]:
    """Return the files that etcd reads for each handshake: certificates, keys and revocation lists."""
    return (*_crl_files(layout, pki), *_cert_files(host, layout, pki))


def desired_settings(spec: Spec, host: HostSpec, layout: Layout, token: str, pki: PkiSeen) -> Settings:
    """Return the `ETCD_*` variables of a member, as etcd.conf and the running process must have them."""
    with_names = pki.mode == "managed" and pki.with_peer_names and not pki.is_from_provided
    allowed = peer_common_name(spec) if with_names else None
    return settings_of(
        spec, host, layout, token, peer_common_name=allowed, trust=ca_digest(pki), crls=crl_kinds(pki)
    )


def ca_digest(pki: PkiSeen) -> str:
    """Return the value that ETCDUP_TRUST has in a process that was started with these CA files."""
    if "" in pki.trust.values():  # The plan may be made before the CA file exists.
        return UNWRITTEN
    return hashlib.sha256("".join(sorted(pki.trust.values())).encode()).hexdigest()[:12] if pki.trust else ""


def crl_kinds(pki: PkiSeen) -> tuple[str, ...]:
    """Return the kinds of revocation lists that members have. For provided certificates the operator decides.

    Members need a restart for their first list. A rotation from a provided CA restarts them in its last phase.
    """
    return tuple(CRL_VARIABLES) if pki.mode == "managed" and not pki.is_from_provided else tuple(pki.crls)


def _ca_files(layout: Layout, pki: PkiSeen) -> tuple[DesiredFile, ...]:
    return tuple(
        DesiredFile(path, CaContent(kind), pki.trust.get(kind), 0o644, "root:root")
        for kind, path in (("ca", layout.ca()), ("peer-ca", layout.ca("peer")))
    )


def _crl_files(layout: Layout, pki: PkiSeen) -> tuple[DesiredFile, ...]:
    files = []
    for kind in crl_kinds(pki):
        crl = pki.crls.get(kind)
        content = CrlContent(kind)
        files.append(DesiredFile(layout.crl(kind), content, crl.sha256 if crl else None, 0o644, "root:root"))
    return tuple(files)


def _cert_files(host: HostSpec, layout: Layout, pki: PkiSeen) -> tuple[DesiredFile, ...]:
    files = []
    for kind in MEMBER_CERTS:
        role = f"{kind}/{host.name}"
        cert_sum, key_sum = pki.files.get(role, (None, None))
        files.append(DesiredFile(layout.key(kind), CertContent(role, "key"), key_sum, 0o600, "etcd:etcd"))
        files.append(DesiredFile(layout.cert(kind), CertContent(role, "cert"), cert_sum, 0o640, "root:etcd"))
    return tuple(files)


def start_file(spec: Spec, host: HostSpec, layout: Layout) -> DesiredFile:
    """Return the unit of systemd, or the script that starts a local member."""
    if layout.supervisor == "process":
        return _text_file(layout.unit, start_script(layout), 0o755, "root:root")
    return _text_file(layout.unit, unit_text(spec.name, host.name, layout), 0o644, "root:root")


def _text_file(path: str, text: str, mode: int, owner: str) -> DesiredFile:
    return DesiredFile(path, TextContent(text), hashlib.sha256(text.encode()).hexdigest(), mode, owner)


def parent_folder(path: str) -> str:
    """Return the directory that contains the file."""
    return str(PurePosixPath(path).parent)
