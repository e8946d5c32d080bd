"""Warnings before a change, on stderr."""

from datetime import UTC, datetime

from etcdup.cli.run.session import Session
from etcdup.core.spec.model import Spec
from etcdup.core.spec.warnings import warnings
from etcdup.core.versions.advisories import newest_patch, warning_advisories
from etcdup.errors import UsageError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import Pki


def print_warnings(session: Session) -> None:
    """Warn of risky settings, and of known faults of the version in cluster.yaml."""
    for warning in (*warnings(session.spec), *version_warnings(session.spec)):
        session.terminal.warn(warning)


def version_warnings(spec: Spec) -> tuple[str, ...]:
    """Return one warning for the version: an old version has many faults, so only the worst is printed.

    Faults that forbid the version count too, if the binaries of a distribution can contain their fixes.
    """
    version = spec.version
    faults = [each.problem for each in warning_advisories(version, members=spec.size, vouched=True)]
    if not faults:
        return ()
    named = next((fault for fault in faults if "end of life" in fault), faults[0])
    more = f"; other known faults: {len(faults) - 1}" if len(faults) > 1 else ""
    newest = newest_patch(version)
    newer = f"; the newest patch is {newest}" if newest > version else ""
    return (f"etcd {version}: {named}{more}{newer}",)


def warn_of_exposed_keys(session: Session, pki: Pki) -> None:
    for fault in pki.exposed_keys():
        session.terminal.warn(f"{fault}: {fault.hint} (`etcdup apply` does this if it has the permission)")


def restrict_keys(session: Session, pki: Pki) -> None:
    """Set the mode of the keys in the PKI to 0600, and warn if it was another one."""
    for fault in pki.restrict_keys():
        session.terminal.warn(
            f"{fault}: its mode is now 0600. If another user may have read the key, run `etcdup certs rotate-ca`"
        )
    warn_of_exposed_keys(session, pki)


def check_tls_files(session: Session) -> None:
    """Check provided certificates before any host is contacted. Raise UsageError with all faults."""
    if session.spec.tls.mode != "provided":
        return
    faults = open_pki(session.spec, session.folder).check(datetime.now(UTC))
    for fault in faults:
        if fault.is_warning:
            session.terminal.warn(str(fault))
    grave = [fault for fault in faults if not fault.is_warning]
    if len(grave) == 1:
        raise UsageError(str(grave[0]), hint=grave[0].hint)
    if grave:
        raise UsageError(
            f"the certificates of `tls` in cluster.yaml have {len(grave)} faults",
            detail="\n".join(str(fault) for fault in grave),
            hint="\n".join(dict.fromkeys(fault.hint for fault in grave if fault.hint)),
        )
