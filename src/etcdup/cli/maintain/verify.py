"""`etcdup maintain verify`."""

from pathlib import Path

from etcdup.cli.run.session import Session
from etcdup.cli.views.hashes_view import hashes_json, render_hashes
from etcdup.cli.views.text import json_text
from etcdup.core.audit.findings import MemberHash
from etcdup.core.audit.hashes import outcome_of, repair_hint
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.planner.repair_data import same_data
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.audit.gather import read_hashes


def verify_members(file: Path, *, as_json: bool) -> int:
    """Print the hash of each member. Return 0 only if the data of all members is the same."""
    session = Session.begin(file)
    (observed, hashes), terminal = session.run(_read(session)), session.terminal
    if as_json:
        terminal.print_data(json_text(hashes_json(session.spec.name, hashes)))
    else:
        terminal.print_data(terminal.with_file(render_hashes(hashes, terminal.out)))
        if outcome_of(hashes) == "different":
            right = same_data(observed, hashes)
            odd = [each.member for each in hashes if not each.why and each.member not in right]
            terminal.say(f"hint: {repair_hint(right, odd)}")
    return EXIT_DONE if outcome_of(hashes) == "same" else EXIT_FAILED


async def _read(session: Session) -> tuple[Observed, tuple[MemberHash, ...]]:
    """Return the observation, and the hash of each member, or why it has none."""
    async with session.world() as world:
        observed = session.require_formed(await session.observe(world))
        async with session.terminal.wait_notice("each member computes its hash, one after the other"):
            return observed, (*await read_hashes(world, observed), *_silent(observed))


def _silent(observed: Observed) -> tuple[MemberHash, ...]:
    silent = {name: seen.why for name, seen in observed.members.items() if isinstance(seen, MemberSilent)}
    return tuple(MemberHash(name, why=why) for name, why in sorted(silent.items()))
