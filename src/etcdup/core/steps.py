"""The plan: ordered, frozen, serialisable intent, with a reason on each step.

No callables, no secrets, no clock. A step says what shall be so; `commands.py` says, on a fresh observation,
which commands make it so; `outcome.py` says whether it is so.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class FileChange:
    """A file to be created or brought back to what cluster.yaml wants. `diff` is empty for keys and certificates."""

    path: str
    action: Literal["create", "update"]
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What every step has. `rules` are numbers of the operating rules it follows."""

    reason: str
    rules: tuple[int, ...] = ()
    quorum: str = ""
    # A disruptive step takes a member away or may: never two at a time, and each behind its guard.
    disruptive: ClassVar[bool] = False
    glyph: ClassVar[str] = "~"

    @property
    def kind(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, kw_only=True)
class HostStep(Step):
    """A step on one host."""

    host: str


@dataclass(frozen=True, kw_only=True)
class IssueCertificates(Step):
    """On the operator's machine: certificates for these roles, and the CA where there is none."""

    roles: tuple[str, ...]
    makes_authority: bool
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class ObtainBinaries(Step):
    """On the operator's machine: the archive of this version into the cache, verified."""

    version: str
    source: str
    origin: str
    arches: tuple[str, ...]
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class PrepareHost(HostStep):
    """The etcd user, the folders, and the mark that the data directory is ours."""

    token: str
    missing: tuple[str, ...]
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class InstallBinaries(HostStep):
    """This version beside the others; what runs is not touched."""

    version: str
    source: str
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class InstallFiles(HostStep):
    """Configuration, unit and certificates. Written atomically; a running member reads them when restarted."""

    changes: tuple[FileChange, ...]


@dataclass(frozen=True, kw_only=True)
class SwitchBinaries(HostStep):
    """The `current` link to this version, by one rename. A running member keeps its old binary until restarted."""

    version: str


@dataclass(frozen=True, kw_only=True)
class EnableUnit(HostStep):
    """systemd has read etcd.service and starts it at boot."""


@dataclass(frozen=True, kw_only=True)
class FormCluster(Step):
    """The first start of all members together, as a new cluster with a token of its own (rules 1, 2, 4)."""

    hosts: tuple[str, ...]
    token: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class SealCluster(Step):
    """The cluster was seen healthy: from here on no host may ever form it again (rules 6, 7)."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StartMember(HostStep):
    """A stopped member with its data in place is started."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class RestartMember(HostStep):
    """A running member takes up new settings: leadership moved away, stop, start, proved healthy."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"


@dataclass(frozen=True, kw_only=True)
class RetireMember(HostStep):
    """Stopped, disabled, data and settings moved aside under this suffix; nothing is deleted."""

    suffix: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"


STEPS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        IssueCertificates,
        ObtainBinaries,
        PrepareHost,
        InstallBinaries,
        InstallFiles,
        SwitchBinaries,
        EnableUnit,
        FormCluster,
        SealCluster,
        StartMember,
        RestartMember,
        RetireMember,
    )
}


@dataclass(frozen=True)
class Plan:
    """What apply would do, in order. `notes` are facts that the operator should know but no step can change."""

    cluster: str
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    token: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.steps


@dataclass(frozen=True)
class Refused:
    """Why a step, or the whole plan, may not be done. `message` names what and why, `hint` what to do."""

    message: str
    hint: str = ""
    host: str = ""
    rules: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """The planner's other answer: every reason at once, and nothing is touched."""

    cluster: str
    reasons: tuple[Refused, ...]
    notes: tuple[str, ...] = field(default=())


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON's own types. `plan_from_json` reads it back to an equal plan."""
    return {
        "format": 1,
        "cluster": plan.cluster,
        "token": plan.token,
        "notes": list(plan.notes),
        "steps": [{"step": step.kind, **asdict(step)} for step in plan.steps],
    }


def plan_from_json(data: dict[str, Any]) -> Plan:
    """Raises ValueError where the data is not a plan that this etcdup wrote."""
    try:
        if data["format"] != 1:
            raise ValueError(f"format {data['format']} is not known to this etcdup")
        steps = tuple(_step_from_json(item) for item in data["steps"])
        return Plan(data["cluster"], steps, tuple(data["notes"]), data["token"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a saved plan: {error}") from error


def _step_from_json(item: dict[str, Any]) -> Step:
    kind = STEPS[item["step"]]
    known = {field.name for field in fields(kind)}
    values = {name: _frozen(name, value) for name, value in item.items() if name in known}
    return kind(**values)


def _frozen(name: str, value: Any) -> Any:
    if name == "changes":
        return tuple(FileChange(**change) for change in value)
    return tuple(value) if isinstance(value, list) else value
