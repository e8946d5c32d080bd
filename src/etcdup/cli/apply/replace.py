"""`etcdup member replace`."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from etcdup.cli.apply.apply import ask_to_apply, converge
from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.change import Change, ChangeRun
from etcdup.cli.run.cluster_file import read_bytes, replace_text
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.plan_view import render_edit
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.address import parse_address
from etcdup.core.spec.edit import machine_bindings, with_address
from etcdup.core.spec.load import load, load_bytes
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import WrongValue
from etcdup.errors import BadFile, UsageError
from etcdup.ops.world.refusal import Planner, raise_refusal


def replace_member(file: Path, name: str, *, address: str | None, yes: bool) -> int:
    """`address` is the new machine's, where it has another than the old one."""
    data = read_bytes(file)
    spec, edit = load_bytes(data, str(file)), None
    if name not in [host.name for host in spec.hosts]:
        there = ", ".join(host.name for host in spec.hosts)
        raise UsageError(f"there is no host {name} in {file}", hint=f"its hosts are {there}")
    if address is not None and _parse_address(address) != spec.host(name).address:
        spec, edit = _edit_address(file, data.decode(), spec, name, _parse_address(address))
    session = Session(spec, file.absolute().parent, Terminal())
    check_tls_files(session)
    verb = f"member replace {name}" + (f" --address {address}" if address else "")
    run = ChangeRun(session, verb, resume=lambda done: _resume_hint(verb, edit, done))

    def choose(observed: Observed) -> Change:
        return Change(
            _choose_planner(session, name, observed, moves=address is not None),
            None if yes else ask_to_apply(session),
            preface=render_edit(str(file), edit.diff, session.terminal.err) if edit else "",
            prepare=edit.write if edit else lambda: False,
        )

    return run.run_to_exit(converge(run, choose))


@dataclass(frozen=True)
class Edit:
    """cluster.yaml as it is, and as it will be once the operator has said yes."""

    path: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        return "\n".join(lines)

    def write(self) -> bool:
        """From here on cluster.yaml names the new machine, whatever becomes of this run."""
        replace_text(self.path, self.before, self.after)
        return True


def _parse_address(address: str) -> str:
    try:
        return parse_address(address)
    except WrongValue as error:
        raise UsageError(f"--address: {error}", hint=error.hint) from None


def _edit_address(file: Path, text: str, spec: Spec, name: str, address: str) -> tuple[Spec, Edit]:
    """The Spec with the new address, held to every rule of the file."""
    if pinned := machine_bindings(text, spec, name):
        raise BadFile(str(file), pinned)
    edited = with_address(text, name, address)
    if edited is None:
        raise UsageError(
            f"the address of {name} is written in {file} in a way that is not edited safely",
            hint=f"write {address} there by hand, then `etcdup member replace {name}`",
        )
    return load(edited, str(file)), Edit(file, text, edited)


def _choose_planner(session: Session, name: str, observed: Observed, *, moves: bool) -> Planner:
    """Decide once which member is replaced: later observations have its new member."""
    spec, token = session.spec, session.generate_token()
    member_id = id_to_replace(spec, name, observed, moves=moves)
    if isinstance(member_id, Refused):
        raise_refusal(Refusal(spec.name, (member_id,)))

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_replacement(spec, name, member_id, observed, token)

    return planner


def _resume_hint(verb: str, edit: Edit | None, done: int) -> str:
    if done:  # the mark is on the host
        return f"run `etcdup {verb}` again, or `etcdup apply`: it goes on from here"
    named = f"{edit.path} has the new address already; " if edit is not None else ""
    return f"{named}run `etcdup {verb}` again: it goes on from here"
