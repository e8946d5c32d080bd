"""A plan or a refusal, as text. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from etcdup.cli.views.step_texts import count_text, hosts_of, kind_text, step_text
from etcdup.cli.views.text import Paint, hint_lines, wrap_text
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.member_steps import AddLearner, RemoveMember, RestartMember
from etcdup.core.plan.phases import phases
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import RestoreKeys
from etcdup.core.plan.step import Step
from etcdup.core.plan.version_steps import CancelDowngrade, EnableDowngrade

_COLOURS = {"+": "green", "~": "yellow", "!": "yellow", "-": "red"}
# If a reason has fewer columns next to its step, it is printed on the next line.
_MIN_REASON_WIDTH = 44
_INDENT = "      "
_HINT_INDENT = _INDENT + " " * len("hint: ")
_SUMMARY_COUNTS = ((AddLearner, "member joins", "members join"), (RemoveMember, "leaves", "leave"))


# The diff of a file and the hosts that have it, by its path and its changed lines.
Changed = dict[tuple[str, tuple[str, ...]], tuple[str, list[str]]]


@dataclass(frozen=True)
class Line:
    """Steps with the same text and the same reason, on one or more hosts."""

    glyph: str
    label: str
    hosts: tuple[str, ...]
    reason: str
    steps: tuple[Step, ...]

    @property
    def where(self) -> str:
        if isinstance(self.steps[0], EnableDowngrade | CancelDowngrade | RestoreKeys):
            return "cluster"
        return " ".join(self.hosts) or "here"


def render_plan(plan: Plan, paint: Paint, width: int = 100) -> str:
    """Return each step with its reason, its changes of files, and its effect on the quorum.

    If the plan passes through several versions of etcd, each version has a heading. The text ends with the state that
    an interruption leaves, with the notes and with a summary.
    """
    heading = paint("bold", f"cluster {plan.cluster}")
    if plan.is_empty:
        return "\n".join([*_note_lines(plan.notes, paint, width), f"{heading}: {_no_step(plan)}"]) + "\n"
    view = _View.of(plan_lines(plan.steps), paint, width)
    # The operator reads what is wrong before steps that may not succeed because of it.
    causes = [note for note in plan.notes if "\nhint: " in note]
    rest = [note for note in plan.notes if note not in causes]
    parts = [heading, "", *_note_lines(causes, paint, width)]
    hops = split_by_version(plan.steps)
    for number, hop in enumerate(hops, 1):
        if len(hops) > 1:
            parts += (
                ["", *_version_heading(number, hops, paint)]
                if number > 1
                else _version_heading(number, hops, paint)
            )
        for line in plan_lines(hop):
            parts += view.step(line)
    parts += ["", *_if_killed_lines(plan.steps, paint, width), *_note_lines(rest, paint, width)]
    parts.append(paint("bold", summary(plan)))
    return "\n".join(parts) + "\n"


def _no_step(plan: Plan) -> str:
    """Return why a plan has no steps. Only if all hosts were observed, there is nothing to do."""
    if plan.unknown:
        return f"no step for the hosts that were observed. {', '.join(plan.unknown)} could not be observed"
    return "no step. First do what the hint says" if plan.unsolved else "nothing to do"


def render_edit(path: str, diff: str, paint: Paint) -> str:
    """Return the change of the operator's own file, as a diff."""
    lines = [f"        {_diff_line(line, paint)}" for line in _hunks(diff)]
    heading = f"  {paint('yellow', '~')} write {paint('bold', path)}, before any host changes"
    return "\n".join([heading, *lines]) + "\n"


def render_refusal(refusal: Refusal, paint: Paint, width: int = 100) -> str:
    """Return the notes, which have causes, and then each reason with its hint below it."""
    parts = _note_lines(refusal.notes, paint, width)
    parts += [paint("bold", f"cluster {refusal.cluster}") + ": the plan is refused", ""]
    for reason in refusal.reasons:
        first, *rest = wrap_text(f"✗ {reason.message}{_rules_suffix(reason.rules)}", width, "  ", _INDENT)
        parts += [first.replace("✗", paint("red", "✗"), 1), *rest]
        parts += hint_lines(reason.hint, width, _INDENT, paint("dim", "hint:"))
    return "\n".join(parts) + "\n"


def summary(plan: Plan) -> str:
    """Return a count of the steps: `14 steps on 4 hosts: 1 member joins, 1 leaves, 1 restart`."""
    hosts = {name for step in plan.steps for name in hosts_of(step)}
    steps = count_text(len(plan.steps), "step") + (f" on {count_text(len(hosts), 'host')}" if hosts else "")
    tallies = []
    for kind, one, many in _SUMMARY_COUNTS:
        if number := sum(isinstance(step, kind) for step in plan.steps):
            tallies.append(f"{number} {one if number == 1 else many}")
    if restarts := sum(isinstance(step, RestartMember) for step in plan.steps):
        tallies.append(count_text(restarts, "restart"))
    return f"{steps}: {', '.join(tallies)}" if tallies else steps


def plan_lines(steps: Sequence[Step]) -> list[Line]:
    """Return the steps in their order. A step that runs on several hosts at the same time is one line."""
    lines = []
    for phase in phases(steps):
        alike: dict[tuple[str, str], list[Step]] = {}
        for step in phase:
            alike.setdefault((step_text(step), step.reason), []).append(step)
        for (label, reason), same in alike.items():
            hosts = tuple(name for step in same for name in hosts_of(step))
            lines.append(Line(same[0].glyph, label, hosts, reason, tuple(same)))
    return lines


def split_by_version(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Split the steps after the last restart into each version. Steps after the last version belong to it."""
    versions = list(dict.fromkeys(step.version for step in steps if isinstance(step, RestartMember)))
    hops: list[tuple[Step, ...]] = []
    begin = 0
    for version in versions[:-1]:
        last = max(
            at for at, step in enumerate(steps) if isinstance(step, RestartMember) and step.version == version
        )
        hops.append(tuple(steps[begin : last + 1]))
        begin = last + 1
    return [*hops, tuple(steps[begin:])]


def _version_heading(number: int, hops: Sequence[Sequence[Step]], paint: Paint) -> list[str]:
    version = next(step.version for step in hops[number - 1] if isinstance(step, RestartMember))
    return [paint("bold", f"  to etcd {version} ({number} of {len(hops)})")]


@dataclass
class _View:
    """Steps as text, with the reasons next to them if the terminal is wide enough, otherwise below.

    A diff is shown once. The next host with the same diff only refers to it.
    """

    paint: Paint
    width: int
    label: int
    where: int
    _shown: dict[tuple[str, ...], str] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Sequence[Line], paint: Paint, width: int) -> "_View":
        label = max(len(line.label) for line in lines)
        return cls(paint, width, label, max(len(line.where) for line in lines))

    def step(self, line: Line) -> Iterator[str]:
        left = f"  {line.glyph} {line.label:{self.label}}  {line.where:{self.where}}  "
        is_wide = self.width - len(left) >= _MIN_REASON_WIDTH
        indent = " " * len(left) if is_wide else _INDENT
        first, *rest = self._reason(line.reason, _rules_suffix(line.steps[0].rules), indent)
        painted = left.replace(line.glyph, self.paint(_COLOURS[line.glyph], line.glyph), 1)
        if is_wide:
            yield f"{painted}{first.removeprefix(indent)}".rstrip()
        else:
            yield painted.rstrip()
            yield first
        yield from rest
        yield from self._changes(line.steps)
        if quorum := line.steps[0].quorum:
            yield from _wrapped(quorum, _INDENT, self.width, lambda text: self.paint("dim", text))

    def _reason(self, reason: str, rules: str, indent: str) -> Iterator[str]:
        lines = wrap_text(reason, self.width - len(indent)) or [""]
        yield from (f"{indent}{line}" for line in lines[:-1])
        if rules and len(indent) + len(lines[-1]) + len(rules) > self.width:
            yield f"{indent}{lines[-1]}"
            yield f"{indent}{self.paint('dim', rules.strip())}"
        else:
            yield f"{indent}{lines[-1]}{self.paint('dim', rules)}"

    def _changes(self, steps: Iterable[Step]) -> Iterator[str]:
        """Yield the diffs of files, each once with all hosts that have it."""
        hosts: Changed = {}
        for step in steps:
            if isinstance(step, InstallFiles):
                for change in step.changes:
                    if change.action == "update":
                        key = (change.path, _changed_lines(change.diff))
                        hosts.setdefault(key, (change.diff, []))[1].append(step.host)
        if repeated := self._repeated(hosts):
            yield repeated
            hosts = {key: value for key, value in hosts.items() if key[1]}
        for (path, changed), (diff, names) in hosts.items():
            note = self._same_diff_note(path, changed, names, diff)
            yield f"{_INDENT}{self.paint('bold', path)} on {' '.join(names)}{note}"
            if changed and self._shown[path, *changed] in names:
                yield from (f"        {_diff_line(line, self.paint)}" for line in _hunks(diff))

    def _repeated(self, hosts: Changed) -> str:
        """Return one line in place of several files without a diff, if an earlier line has the same files."""
        opaque = {path: names for (path, changed), (_, names) in hosts.items() if not changed}
        names = next(iter(opaque.values()), [])
        if len(opaque) < 2 or any(each != names for each in opaque.values()):
            return ""
        first = self._shown.setdefault(tuple(opaque), names[0])
        return (
            ""
            if first in names
            else f"{_INDENT}the same {len(opaque)} files on {' '.join(names)} as on {first}"
        )

    def _same_diff_note(self, path: str, changed: tuple[str, ...], names: Sequence[str], diff: str) -> str:
        if not changed:
            return f": {diff.strip() or _without_diff(path)}"
        first = self._shown.setdefault((path, *changed), names[0])
        return "" if first in names else f", as on {first}"


def _without_diff(path: str) -> str:
    """Return what differs in a file that has no diff."""
    if path.endswith(".der"):
        return "another revocation list"
    if path.endswith(".pem"):
        return "another certificate or key"
    masked = " (`systemctl mask` makes a link to /dev/null)" if path.endswith(".service") else ""
    return f"not a regular file{masked}"


def _if_killed_lines(steps: Iterable[Step], paint: Paint, width: int) -> list[str]:
    """Return what an interruption leaves, for each kind of step once."""
    kinds = {kind_text(step): step.if_cut for step in steps if step.if_cut != Step.if_cut}
    if not kinds:
        return []
    text = [paint("dim", "If this run is interrupted, the next run resumes. What an interruption leaves:")]
    for label, said in kinds.items():
        text += _wrapped(f"{label}: {said}", "  ", width, lambda line: paint("dim", line), hanging="    ")
    return [*text, ""]


def _wrapped(text: str, indent: str, width: int, paint: Callable[[str], str], hanging: str = "") -> list[str]:
    return [paint(line) for line in wrap_text(text, width, indent, hanging or indent)]


def _hunks(diff: str) -> list[str]:
    """Return the diff without its heading, because the name of the file is printed above it."""
    return [line for line in diff.splitlines() if not line.startswith(("--- ", "+++ ", "@@"))]


def _changed_lines(diff: str) -> tuple[str, ...]:
    """Return the removed and added lines. The context lines may differ between hosts."""
    return tuple(line for line in _hunks(diff) if line[:1] in "+-")


def _diff_line(line: str, paint: Paint) -> str:
    colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
    return paint(colour, line)


def _rules_suffix(rules: tuple[int, ...]) -> str:
    if not rules:
        return ""
    return f"  (rule{'s' if len(rules) > 1 else ''} {', '.join(map(str, rules))})"


def _note_lines(notes: Iterable[str], paint: Paint, width: int) -> list[str]:
    """Return the notes. `wrap` must not count the colour of the first word, so the colour is added last."""
    shown = []
    for note in dict.fromkeys(notes):
        said, *more = note.split("\n")
        first, *rest = _wrapped(f"note: {said}", "  ", width, str, hanging=_INDENT)
        shown += [first.replace("note:", paint("yellow", "note:"), 1), *rest]
        indent = _INDENT
        for line in more:
            is_hint = line.startswith("hint: ")
            hanging = _HINT_INDENT if is_hint else indent
            shown += _wrapped(line, indent, width, str, hanging=hanging)
            indent = hanging  # A hint can have several lines, and it is the last part of a note.
    return [*shown, ""] if shown else []


def refusal_json(refusal: Refusal) -> dict[str, object]:
    reasons = [
        {"message": each.message, "hint": each.hint, "host": each.host, "rules": list(each.rules)}
        for each in refusal.reasons
    ]
    return {"format": 1, "cluster": refusal.cluster, "refused": reasons, "notes": list(refusal.notes)}
