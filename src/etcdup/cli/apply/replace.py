"""`etcdup member replace`."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from etcdup.cli.apply.apply import ask_to_apply, converge
from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.change import Change, ChangeRun
from etcdup.cli.run.cluster_file import chosen_hosts, read_bytes, replace_text
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.plan_view import render_edit
from etcdup.core.members.endpoints import CONFIRMATION
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.confirm_endpoints import with_confirmed_endpoints
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.address import parse_address
from etcdup.core.spec.edit import machine_bindings, with_address
from etcdup.core.spec.load import load, load_bytes
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import WrongValue
from etcdup.errors import BadFile, UsageError
from etcdup.ops.world.refusal import Planner, raise_refusal


def replace_member(file: Path, name: str, *, address: str | None, yes: bool, confirmed: bool = False) -> int:
    """Replace a member. `address` is that of the new machine, if it differs from that of the old one.

    `confirmed`: the operator says that clients have the endpoints of cluster.yaml.
    """
    data = read_bytes(file)
    spec, edit = load_bytes(data, str(file)), None
    chosen_hosts(spec, file, name)
    if address is not None and _parse_address(address) != spec.host(name).address:
        spec, edit = _edit_address(file, data.decode(), spec, name, _parse_address(address))
    session = Session(spec, file.absolute().parent, Terminal())
    check_tls_files(session)
    verb = f"member replace {name}" + (f" --address {address}" if address else "")
    verb += f" {CONFIRMATION}" if confirmed else ""
    run = ChangeRun(session, verb, resume=lambda done: _resume_hint(verb, edit, done))

    def choose(observed: Observed) -> Change:
        session.require_formed(observed)
        return Change(
            _choose_planner(session, name, observed, moves=address is not None, confirmed=confirmed),
            None if yes else ask_to_apply(session),
            preface=render_edit(str(file), edit.diff, session.terminal.err) if edit else "",
            prepare=edit.write if edit else lambda: False,
        )

    return run.run_to_exit(converge(run, choose, replaced=name))


@dataclass(frozen=True)
class Edit:
    """The content of cluster.yaml before and after the change."""

    path: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        return "\n".join(lines)

    def write(self) -> bool:
        """Write the file. It keeps the new address, even if the run fails later."""
        replace_text(self.path, self.before, self.after)
        return True


def _parse_address(address: str) -> str:
    try:
        return parse_address(address)
    except WrongValue as error:
        raise UsageError(f"--address: {error}", hint=error.hint) from None


def _edit_address(file: Path, text: str, spec: Spec, name: str, address: str) -> tuple[Spec, Edit]:
    """Return the Spec with the new address, checked by all rules of the file."""
    if pinned := machine_bindings(text, spec, name):
        raise BadFile(str(file), pinned)
    edited = with_address(text, name, address)
    if edited is None:
        raise UsageError(
            f"cannot edit the address of {name} in {file} safely",
            hint=f"set it to {address} by hand, then run `etcdup member replace {name}`",
        )
    return load(edited, str(file)), Edit(file, text, edited)


def _choose_planner(
    session: Session, name: str, observed: Observed, *, moves: bool, confirmed: bool
) -> Planner:
    """Return the planner. The member ID is decided once, because later observations may have the new member."""
    spec, token = session.spec, session.generate_token()
    member_id = id_to_replace(spec, name, observed, moves=moves)
    if isinstance(member_id, Refused):
        raise_refusal(Refusal(spec.name, (member_id,)))

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_replacement(spec, name, member_id, observed, token)

    return with_confirmed_endpoints(spec, planner) if confirmed else planner


def _resume_hint(verb: str, edit: Edit | None, done: int) -> str:
    if done:  # The marker is on the host.
        return f"run `etcdup {verb}` again, or `etcdup apply`, to resume"
    named = f"{edit.path} already has the new address; " if edit is not None else ""
    return f"{named}run `etcdup {verb}` again to resume"
