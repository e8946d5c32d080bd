"""A plan, a refusal and a proof of health as text. Pure: the same in, the same out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from etcdup.cli.paint import Paint
from etcdup.core.steps import (
    FormCluster,
    HostStep,
    InstallBinaries,
    InstallFiles,
    IssueCertificates,
    ObtainBinaries,
    Plan,
    Refusal,
    RetireMember,
    SealCluster,
    Step,
    SwitchBinaries,
)
from etcdup.ops.apply import phases
from etcdup.ops.health import Health, has_quorum

_COLOURS = {"+": "green", "~": "yellow", "!": "yellow", "-": "red"}
_PLAIN_LABELS = {
    "PrepareHost": "prepare the host",
    "EnableUnit": "enable etcd.service",
    "StartMember": "start etcd",
    "RestartMember": "restart etcd",
    "FormCluster": "form the cluster",
    "SealCluster": "seal the cluster",
}
_HERE = "here"
# The glyph, the gaps between columns, and two spaces before the first.
_MARGIN = 8


@dataclass(frozen=True)
class Line:
    """Steps of one kind and reason, on one or more hosts."""

    glyph: str
    label: str
    hosts: tuple[str, ...]
    reason: str
    steps: tuple[Step, ...]

    @property
    def where(self) -> str:
        return " ".join(self.hosts) or _HERE


def render_plan(plan: Plan, paint: Paint, width: int = 100) -> str:
    """Every step with its reason, files' differences below, what it costs the quorum, and a summary."""
    lines = plan_lines(plan)
    heading = paint("bold", f"cluster {plan.cluster}")
    if plan.is_empty:
        return "\n".join([*_notes_text(plan.notes, paint), f"{heading}: nothing to do"]) + "\n"
    parts = [heading, ""]
    columns = _columns(lines, width)
    for line in lines:
        parts += _step_text(line, columns, paint)
    parts += ["", *_notes_text(plan.notes, paint)]
    parts.append(paint("bold", summary(plan)))
    return "\n".join(parts) + "\n"


def render_refusal(refusal: Refusal, paint: Paint) -> str:
    """Every reason with its own hint below it, for `plan`, which changes nothing and may tell all."""
    parts = [paint("bold", f"cluster {refusal.cluster}") + ": nothing can be done now", ""]
    for reason in refusal.reasons:
        parts.append(f"  {paint('red', '✗')} {reason.message}{_rules_text(reason.rules, paint)}")
        if reason.hint:
            parts.append(f"      {paint('dim', 'hint:')} {reason.hint}")
    parts += ["", *_notes_text(refusal.notes, paint)]
    return "\n".join(parts).rstrip() + "\n"


def summary(plan: Plan) -> str:
    """`12 steps on 3 hosts`."""
    hosts = {name for line in plan_lines(plan) for name in line.hosts}
    return counted(len(plan.steps), "step") + (f" on {counted(len(hosts), 'host')}" if hosts else "")


def plan_lines(plan: Plan) -> list[Line]:
    """Steps in their order; the same on several hosts at once is one line."""
    lines = []
    for phase in phases(plan.steps):
        alike: dict[tuple[str, str], list[Step]] = {}
        for step in phase:
            alike.setdefault((describe(step), step.reason), []).append(step)
        for (label, reason), steps in alike.items():
            hosts = tuple(name for step in steps for name in hosts_of(step))
            lines.append(Line(steps[0].glyph, label, hosts, reason, tuple(steps)))
    return lines


def hosts_of(step: Step) -> tuple[str, ...]:
    """The hosts that a step is about; none for what happens on the operator's machine."""
    if isinstance(step, HostStep):
        return (step.host,)
    return step.hosts if isinstance(step, FormCluster | SealCluster) else ()


def describe(step: Step) -> str:
    """What a step does, in a few words and without its host."""
    match step:
        case IssueCertificates(roles=roles, makes_authority=makes_authority):
            made = "make the CA and " if makes_authority else ""
            return f"{made}issue {counted(len(roles), 'certificate')}"
        case ObtainBinaries(version=version, source=source, arches=arches):
            return f"obtain etcd {version} for {', '.join(arches)} ({source})"
        case InstallBinaries(version=version, source=source):
            return f"install etcd {version}" + (" package" if source == "package" else "")
        case InstallFiles(changes=changes):
            return f"write {counted(len(changes), 'file')}"
        case SwitchBinaries(version=version):
            return f"switch to etcd {version}"
        case RetireMember():
            return "stop etcd, move data aside"
    return _PLAIN_LABELS[step.kind]


def render_health(results: Sequence[Health], paint: Paint) -> str:
    """A line a member in etcdctl's words, and the verdict as the last line."""
    return "\n".join([*(_health_line(result, paint) for result in results), _verdict(results, paint)]) + "\n"


def verdict(results: Sequence[Health]) -> str:
    """`healthy`, `degraded` (a quorum is proved, a member is not) or `unavailable`."""
    if all(result.ok for result in results):
        return "healthy"
    return "degraded" if has_quorum(tuple(results)) else "unavailable"


def _health_line(result: Health, paint: Paint) -> str:
    if result.ok:
        healthy = f"member {result.member_id:x} is {paint('green', 'healthy')}"
        return f"{healthy}: got healthy result from {result.url}"
    if result.member_id:
        unhealthy = f"member {result.member_id:x} is {paint('red', 'unhealthy')}"
        return f"{unhealthy}: got unhealthy result from {result.url}: {result.why}"
    failed = paint("red", "failed to check the health")
    return f"{failed} of member {result.name} on {result.url}: {result.why}"


def _verdict(results: Sequence[Health], paint: Paint) -> str:
    said = verdict(results)
    colour = {"healthy": "green", "degraded": "yellow"}.get(said, "red")
    return f"cluster is {paint(f'bold {colour}', said)}"


@dataclass(frozen=True)
class _Columns:
    """Widths of what stands before a reason. `beside`: all reasons fit beside it, else each goes below."""

    label: int
    where: int
    total: int
    beside: bool


def _columns(lines: Sequence[Line], total: int) -> _Columns:
    label = max(len(line.label) for line in lines)
    where = max(len(line.where) for line in lines)
    longest = max(len(line.reason) for line in lines)
    return _Columns(label, where, total, beside=_MARGIN + label + where + longest <= total)


def _step_text(line: Line, columns: _Columns, paint: Paint) -> list[str]:
    left = f"{line.label:{columns.label}}  {line.where:{columns.where}}"
    rules = _shown_rules(line.steps[0].rules)
    glyph = paint(_COLOURS[line.glyph], line.glyph)
    if columns.beside:
        room = columns.total - len(f"  + {left}  ")
        shown = paint("dim", rules) if len(line.reason) + len(rules) <= room else ""
        text = [f"  {glyph} {left}  {line.reason}{shown}"]
    else:
        text = [f"  {glyph} {left.rstrip()}", f"      {line.reason}{paint('dim', rules)}"]
    text += _changes_text(line.steps, paint)
    if quorum := line.steps[0].quorum:
        text.append(f"      {paint('cyan', quorum)}")
    return text


def _changes_text(steps: Iterable[Step], paint: Paint) -> list[str]:
    """Differences of files, each once with the hosts that it is the same on."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for step in steps:
        if isinstance(step, InstallFiles):
            for change in step.changes:
                if change.action == "update":
                    hosts.setdefault((change.path, change.diff), []).append(step.host)
    text = []
    for (path, diff), names in hosts.items():
        what = "" if diff else ": another certificate or key"
        text.append(f"      {paint('bold', path)} on {' '.join(names)}{what}")
        text += [f"        {_diff_line(line, paint)}" for line in _hunks(diff)]
    return text


def _hunks(diff: str) -> list[str]:
    """The diff without its heading: the file's name is said above it."""
    return [line for line in diff.splitlines() if not line.startswith(("--- ", "+++ ", "@@"))]


def _diff_line(line: str, paint: Paint) -> str:
    colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
    return paint(colour, line)


def _rules_text(rules: tuple[int, ...], paint: Paint) -> str:
    return paint("dim", _shown_rules(rules))


def _shown_rules(rules: tuple[int, ...]) -> str:
    if not rules:
        return ""
    return f"  (rule{'s' if len(rules) > 1 else ''} {', '.join(map(str, rules))})"


def _notes_text(notes: Iterable[str], paint: Paint) -> list[str]:
    shown = [f"  {paint('yellow', 'note:')} {note}" for note, _ in groupby(notes)]
    return [*shown, ""] if shown else []


def counted(number: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
