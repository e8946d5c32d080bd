"""What an operator should know before anything is done, in few and readable lines on stderr."""

from datetime import UTC, datetime

from etcdup.cli.run.session import Session
from etcdup.core.observed.model import Observed
from etcdup.core.spec.warnings import warnings
from etcdup.core.versions.advisories import newest_patch, warning_advisories
from etcdup.errors import UsageError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.pki import Pki


def print_warnings(session: Session, observed: Observed) -> None:
    """Warns of settings that work and may be regretted, and of faults of the wanted version."""
    for warning in (*warnings(session.spec), *version_warnings(session, observed)):
        session.terminal.warn(warning)


def version_warnings(session: Session, observed: Observed) -> tuple[str, ...]:
    """An old version has a dozen faults: the gravest is named, the rest counted."""
    version = session.spec.version
    binaries = observed.binaries_of(version)
    vouched = binaries is not None and binaries.is_vouched
    faults = [
        each.problem for each in warning_advisories(version, members=session.spec.size, vouched=vouched)
    ]
    if not faults:
        return ()
    named = next((fault for fault in faults if "end of life" in fault), faults[0])
    more = f"; known faults beside that: {len(faults) - 1}" if len(faults) > 1 else ""
    newest = newest_patch(version)
    newer = f"; the newest of its series is {newest}" if newest > version else ""
    return (f"etcd {version}: {named}{more}{newer}",)


def warn_of_exposed_keys(session: Session, pki: Pki) -> None:
    for fault in pki.exposed_keys():
        session.terminal.warn(f"{fault}: {fault.hint} (`etcdup apply` does, where it may)")


def restrict_keys(session: Session, pki: Pki) -> None:
    """Keys that etcdup made are their owner's alone again, and whoever runs it learns that they were not."""
    for fault in pki.restrict_keys():
        session.terminal.warn(
            f"{fault}: it is 0600 now. Where somebody may have read it, `etcdup certs rotate-ca` makes it worthless"
        )
    warn_of_exposed_keys(session, pki)


def check_tls_files(session: Session) -> None:
    """Provided certificates are judged before any host is touched. Raises UsageError with every fault."""
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
            f"the certificates that `tls` names have {len(grave)} faults",
            detail="\n".join(str(fault) for fault in grave),
            hint="\n".join(dict.fromkeys(fault.hint for fault in grave if fault.hint)),
        )
