"""The steps that change certificates on the operator's machine."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from etcdup.core.plan.step import Step


@dataclass(frozen=True, kw_only=True)
class IssueCertificates(Step):
    """Issue the certificates of these roles on the operator's machine, and create the CA if there is none.

    `new_keys`: each gets a new key, because the present one may be known to others.
    """

    roles: tuple[str, ...]
    makes_authority: bool
    new_keys: bool = False
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class RevokeCertificates(Step):
    """Sign a revocation list that contains these serial numbers (hexadecimal), on the operator's machine (rule 110).

    The following steps install it on the hosts.
    """

    roles: tuple[str, ...]
    serials: tuple[str, ...]
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "the list contains the certificates or not, and no host has the list yet; the next run detects which"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """A certificate that is archived in this run has another role then."""
        return (self.kind, *sorted(self.serials))

    @property
    def is_alone(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class RotateAuthority(Step):
    """Do one phase of a CA rotation in the PKI of the operator's machine (rule 15).

    `trust` creates the new CA and trusts it in addition to the old one. `sign` signs with the new CA from then on.
    `drop` trusts only the new CA. `keep` undoes an incomplete `drop`: the old CA is trusted again.

    The following steps change the hosts. This step is disruptive only so that it is a phase of its own with a guard.
    """

    stage: Literal["trust", "sign", "drop", "keep"]
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "no host is changed yet; the next run sees whether the PKI directory has the new phase, and continues"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.stage)
