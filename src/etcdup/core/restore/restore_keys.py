"""The plan of `restore-keys`: write the values that keys had at an earlier revision into the running cluster.

Each key is written only if it is still as it was shown to the operator: etcd compares its revision in the same
transaction. Keys that exist now and did not exist at the revision are left alone.
"""

from collections import Counter
from dataclasses import dataclass, field

from etcdup.core.backups.old_keys import OldKey, Row
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.keys import PresentKey
from etcdup.core.etcd.leases import key_prefix
from etcdup.core.members.limits import FREE_SPACE_HINT, refuse_without_access
from etcdup.core.members.quorum import healthy, refuse_corrupt_alarm
from etcdup.core.members.space import is_out_of_space, quota_of
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import RestoreKeys
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

# `max-txn-ops` of etcd has the default 128, and `max-request-bytes` 1.5 MiB. A request has each key twice.
MOST_OPERATIONS = 128
MOST_BYTES = 1 << 20
_PUT_BYTES = 64


@dataclass(frozen=True)
class KeyWrite:
    """A key to write, the row in the backup that has its value, and the size of the value.

    `found` is the present revision of the key, 0 if it does not exist. `found_size` and `found_lease` are those of its
    present value.
    """

    key: bytes
    row: Row
    size: int
    found: int = 0
    found_size: int = 0
    found_lease: int = 0


@dataclass
class KeyComparison:
    """What differs between the keys as of the revision and the present keys. `others` exist now and did not then."""

    prefix: bytes
    target: bytes
    with_leased: bool
    writes: list[KeyWrite] = field(default_factory=list)
    unchanged: int = 0
    leased: Counter[str] = field(default_factory=Counter)
    found: int = 0
    others: int = 0

    def target_of(self, key: bytes) -> bytes:
        return self.target + key[len(self.prefix) :]

    def add(self, old: OldKey, present: PresentKey | None) -> None:
        """Count a key of the backup, and whether it is to be written."""
        key = self.target_of(old.key)
        self.found += present is not None
        if old.lease and not self.with_leased:
            self.leased[key_prefix(old.key)] += 1
        elif present is None:
            self.writes.append(KeyWrite(key, old.row, len(old.value)))
        elif present.value == old.value:
            self.unchanged += 1
        else:
            found = present.revision, len(present.value), present.lease
            self.writes.append(KeyWrite(key, old.row, len(old.value), *found))

    @property
    def overwritten(self) -> list[KeyWrite]:
        return [each for each in self.writes if each.found]

    @property
    def created(self) -> list[KeyWrite]:
        return [each for each in self.writes if not each.found]

    @property
    def bytes(self) -> int:
        return sum(len(each.key) + each.size for each in self.writes)


@dataclass(frozen=True)
class Conflict:
    """A key that was not written. `found` is its revision now; `why` is the answer of etcd, if etcd refused the key."""

    key: bytes
    shown: int
    found: int = 0
    why: str = ""


@dataclass
class KeyJob:
    """The keys to write, and how far the writing is. `unknown` keys are in a request without an answer."""

    bolt: Bolt
    writes: list[KeyWrite]
    written: int = 0
    unknown: int = 0
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return how many keys are written."""
        done = f"{self.written:,} of {len(self.writes):,} keys are written"
        return f"{done}, and {self.unknown:,} more are possibly written" if self.unknown else done


def size_in_request(key_bytes: int, value_bytes: int) -> int:
    """Return the size of a guarded write, which has the key twice."""
    return 2 * key_bytes + value_bytes + _PUT_BYTES


def plan_restore_keys(spec: Spec, observed: Observed, step: RestoreKeys) -> Plan | Refusal:
    """Return the plan with this step, or the reasons against it."""
    if reasons := refuse_restore_keys(step.bytes, spec, observed):
        return Refusal(spec.name, reasons)
    return Plan(spec.name, (step,))


def refuse_restore_keys(size: int, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow writes of this many bytes while a quorum serves clients and each database has space for them."""
    refused = (
        refuse_corrupt_alarm(observed)
        or refuse_unfinished_restore(spec, observed)
        or refuse_without_access(spec, observed)
    )
    if refused:
        return refused
    if not healthy(observed):
        why = "no member follows a leader, so no key can be written"
        return (Refused(why, hint="run `etcdup status` to see each member", rules=(11,)),)
    if is_out_of_space(observed):
        return (Refused("the NOSPACE alarm is active: etcd refuses writes", FREE_SPACE_HINT, rules=(70,)),)
    full = [
        f"{name} ({show_size(seen.db_in_use)} of {show_size(quota)} in use)"
        for name, seen in sorted(observed.answering().items())
        if seen.db_in_use + size > (quota := quota_of(spec, observed, name))
    ]
    if full:
        why = f"the keys need {show_size(size)}, and there is too little space in the database of {', '.join(full)}"
        return (Refused(why, FREE_SPACE_HINT, rules=(70, 77)),)
    return ()
