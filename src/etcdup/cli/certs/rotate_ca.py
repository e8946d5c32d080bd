"""`etcdup certs rotate-ca`."""

from dataclasses import dataclass
from pathlib import Path

from etcdup.cli.apply.apply import ask_new_passphrase, ask_to_apply
from etcdup.cli.run.change import Change, ChangeRun, make_plan, require_take_over, run_change
from etcdup.cli.run.cluster_file import path_from_here
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.certs_json import next_phase_json, rotation_json
from etcdup.cli.views.health_view import render_health
from etcdup.cli.views.rotation_view import (
    CONFIRMATIONS,
    NEXT_STAGE,
    READY_QUESTIONS,
    Connected,
    continue_hint,
    finished_lines,
    instructions,
)
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.certs.ca_rotation import (
    RotationStage,
    is_dropping,
    refuse_rotate_ca,
    rotation_stage,
)
from etcdup.core.certs.connected_clients import describe_rejected
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.rotate_ca import next_stage, plan_ca_rotation
from etcdup.errors import UsageError
from etcdup.ops.certs.export import admin_files
from etcdup.ops.certs.proof import prove_links
from etcdup.ops.world.connected_clients import (
    members_by_client,
    observe_connected_clients,
    read_rejected_clients,
)
from etcdup.ops.world.health import Health, prove_whole
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


def rotate_cluster_ca(
    file: Path,
    *,
    yes: bool,
    have: str | None,
    keep: bool,
    lost_key: bool,
    accepted: frozenset[str],
    as_json: bool,
) -> int:
    """Do one phase of the rotation. New handshakes prove the cluster before and after it.

    `accepted` are the addresses of clients that have a certificate of the new CA, as the operator confirms. `lost_key`:
    the first phase needs no key of the old CA.
    """
    option = f" --consumers-have {have}" if have else " --keep-old" if keep else ""
    option += " --lost-key" if lost_key else ""
    option += "".join(f" --accept-client {address}" for address in sorted(accepted))
    run = ChangeRun(Session.begin(file), f"certs rotate-ca{option}")
    chosen = _Chosen(yes, have, keep, lost_key, accepted, as_json)
    return run.run_to_exit(_rotate(run, chosen))


@dataclass(frozen=True)
class _Chosen:
    """The options of the operator."""

    yes: bool
    have: str | None
    keep: bool
    lost_key: bool
    accepted: frozenset[str]
    as_json: bool


@dataclass(frozen=True)
class _Phase:
    """The phase of this run. `current` is the phase that is under way or complete before it."""

    stage: RotationStage
    current: RotationStage | None
    planner: Planner

    @property
    def is_new(self) -> bool:
        return self.stage != self.current


async def _rotate(run: ChangeRun, chosen: _Chosen) -> None:
    async with run.session.world() as world:
        world.accepted_clients = chosen.accepted
        observed = await run.session.observe(world)
        require_take_over(run, observed)
        phase = _choose_phase(run.session, observed, keep=chosen.keep)
        if chosen.lost_key and phase.current is None:
            world.pki.accept_lost_key()
        if _is_complete(phase, chosen.have):
            run.terminal.say("nothing to do: this phase is complete")
        else:
            if phase.is_new and not chosen.keep:
                await _check_before_phase(run.session, world, observed, phase.stage, chosen.have)
            await _apply_phase(run, world, observed, phase, yes=chosen.yes)
    # The connections from before the phase still use the previous CA file and certificate.
    async with run.session.world() as world:
        await _prove(run, world, as_json=chosen.as_json)


@dataclass(frozen=True)
class _ApplyWithNewKey:
    """The question before a phase, and the one for the passphrase of a CA key that this run makes."""

    session: Session
    world: World

    async def ask(self, terminal: Terminal) -> None:
        await ask_to_apply(self.session).ask(terminal)
        await ask_new_passphrase(self.session, self.world)


def _choose_phase(session: Session, observed: Observed, *, keep: bool) -> _Phase:
    spec, token = session.spec, session.generate_token()
    stage: RotationStage = "keep" if keep else next_stage(spec, observed, token)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_ca_rotation(spec, fresh, token, stage)

    dropping: RotationStage | None = "drop" if is_dropping(spec, observed) else None
    return _Phase(stage, rotation_stage(observed.pki) or dropping, planner)


def _is_complete(phase: _Phase, have: str | None) -> bool:
    """Return whether an earlier run already completed the phase that the operator confirms."""
    if not phase.is_new or have is None:
        return False
    if have == "certs" and phase.current == "trust":
        hint = (
            "after all consumers trust both CAs, pass `--consumers-have ca`; then give them new certificates"
        )
        raise UsageError("the new CA does not sign yet, so no consumer has a certificate of it", hint=hint)
    return (have, phase.current) in (("ca", "sign"), ("ca", None), ("certs", None))


async def _check_before_phase(
    session: Session, world: World, observed: Observed, stage: RotationStage, have: str | None
) -> None:
    """Check the hosts and the PKI, ask whether consumers are ready, and prove all links by new handshakes."""
    if reasons := refuse_rotate_ca(stage, session.spec, observed):
        raise_refusal(Refusal(session.spec.name, reasons))
    connected = members_by_client(await observe_connected_clients(world, observed))
    if stage != "trust" and have != CONFIRMATIONS[stage]:
        await _confirm_consumers(session, observed, stage, connected)
    await _prove_links(session, world, observed, "before")


async def _confirm_consumers(
    session: Session, observed: Observed, stage: RotationStage, connected: Connected
) -> None:
    """Ask whether consumers are ready, because etcdup sees this only after a member rejects them."""
    terminal = session.terminal
    for line in instructions(_pki_folder(session), observed, stage, connected):
        terminal.say(line)
    if not terminal.can_confirm:
        message = "consumers have to be ready before this phase, and you have not confirmed it"
        hint = f"do what the lines above say, {continue_hint(stage)}"
        raise_refusal(Refusal(session.spec.name, (Refused(message, hint),)))
    if not await terminal.confirm(READY_QUESTIONS[stage]):
        raise Interrupted("nothing was changed")


async def _apply_phase(run: ChangeRun, world: World, observed: Observed, phase: _Phase, *, yes: bool) -> None:
    observed = await run.session.resolve_binaries(world, observed)
    plan = make_plan(run, phase.planner, observed)
    if plan.is_empty:
        run.terminal.say("nothing to do: this phase is complete")
        return
    confirm = None if yes else _ApplyWithNewKey(run.session, world)
    await run_change(run, world, Change(phase.planner, confirm), plan, observed)


async def _prove(run: ChangeRun, world: World, *, as_json: bool) -> None:
    """Prove the phase that is complete now, and say what consumers need before the next one."""
    observed = await run.session.observe(world)
    results = await prove_whole(world, observed)
    made = await _prove_links(run.session, world, observed, "after")
    connected = members_by_client(await observe_connected_clients(world, observed))
    if as_json:
        _print_json(run, world, observed, made, results, connected)
    else:
        run.terminal.print_data(run.terminal.with_file(render_health(results, run.terminal.out)))
    for line in _next_lines(run.session, observed, connected):
        run.terminal.say(line)
    for who in describe_rejected(await read_rejected_clients(world, observed)):
        run.terminal.warn(f"{who}, because it used a certificate of an old CA")


async def _prove_links(session: Session, world: World, observed: Observed, when: str) -> int:
    async with session.terminal.wait_notice("doing TLS handshakes"):
        made = await prove_links(world, observed, admin_client(session, world))
    session.terminal.say(
        f"{count_text(made, 'new handshake')} {when} this phase: each port and each link is ok"
    )
    return made


def _print_json(
    run: ChangeRun,
    world: World,
    observed: Observed,
    made: int,
    results: tuple[Health, ...],
    connected: Connected,
) -> None:
    spec, stage = run.session.spec, NEXT_STAGE.get(rotation_stage(observed.pki))
    ca = admin_files(spec, run.session.folder, world.pki).ca
    following = next_phase_json(observed, stage, CONFIRMATIONS[stage], ca, connected) if stage else None
    facts = rotation_json(spec, observed, run.done, made, results, following)
    run.terminal.print_data(json_text(facts))


def _next_lines(session: Session, observed: Observed, connected: Connected) -> list[str]:
    folder, following = _pki_folder(session), NEXT_STAGE.get(rotation_stage(observed.pki))
    if following is None:
        return finished_lines(folder)
    return [*instructions(folder, observed, following, connected), continue_hint(following)]


def _pki_folder(session: Session) -> str:
    return path_from_here(session.spec.tls.dir, session.folder)
