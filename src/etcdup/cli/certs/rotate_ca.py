"""`etcdup certs rotate-ca`."""

from pathlib import Path

from etcdup.cli.apply.apply import ApplyRun
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.views.certs_json import next_phase_json, rotation_json
from etcdup.cli.views.health_view import render_health
from etcdup.cli.views.json_text import json_text
from etcdup.cli.views.step_texts import count_text
from etcdup.core.certs.ca_rotation import (
    RotationStage,
    consumers_of_old_ca,
    hosts_dropping_old_ca,
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
    ConnectedClients,
    observe_connected_clients,
    read_rejected_clients,
)
from etcdup.ops.world.health import Health, prove_whole
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World

# What consumers have to have before a phase, as the operator confirms it: each phase by a word of its own, so that the
# same command, run again after a kill, never confirms the next one.
_CONFIRMATIONS: dict[RotationStage, str] = {"sign": "ca", "drop": "certs"}
_NEXT_STAGE: dict[RotationStage | None, RotationStage] = {"trust": "sign", "sign": "drop"}


def rotate_cluster_ca(file: Path, *, yes: bool, have: str | None, keep: bool, as_json: bool) -> int:
    """One phase, gated by new handshakes before and after it."""
    return RotateCaRun(Session.begin(file), yes=yes, have=have, keep=keep, as_json=as_json).run_to_exit()


class RotateCaRun(ApplyRun):
    """One run of `certs rotate-ca`: an apply that may begin with a turn of the CA."""

    def __init__(self, session: Session, *, yes: bool, have: str | None, keep: bool, as_json: bool) -> None:
        option = f" --consumers-have {have}" if have else " --keep-old" if keep else ""
        super().__init__(session, f"certs rotate-ca{option}", yes=yes)
        self._keep = keep
        self._have = have
        self._as_json = as_json
        self._stage: RotationStage = "trust"
        self._turns = False
        self._connected: ConnectedClients = {}

    def planner(self, observed: Observed) -> Planner:
        spec, token = self.session.spec, self.session.generate_token()
        stage = self._stage = "keep" if self._keep else next_stage(spec, observed, token)
        self._turns = stage != self._current_stage(observed)

        def planned(fresh: Observed) -> Plan | Refusal:
            return plan_ca_rotation(spec, fresh, token, stage)

        return planned

    def _current_stage(self, observed: Observed) -> RotationStage | None:
        """The phase that is under way, or whole."""
        return rotation_stage(observed.pki) or (
            "drop" if hosts_dropping_old_ca(self.session.spec, observed) else None
        )

    def _is_complete(self, observed: Observed) -> bool:
        """Whether what is confirmed led to a phase that is whole already: an earlier run came to its end."""
        begun = self._current_stage(observed)
        if not self._turns or self._have is None:
            return False
        if self._have == "certs" and begun == "trust":
            hint = "first `--consumers-have ca`, once they trust both; then give them certificates"
            raise UsageError("the new CA does not sign yet: nobody has a certificate of it", hint=hint)
        return (self._have, begun) in (("ca", "sign"), ("ca", None), ("certs", None))

    async def run(self) -> None:
        async with self.session.world() as world:
            observed = await self.session.observe(world)
            planner = self.planner(observed)
            if self._is_complete(observed):
                self.terminal.say("nothing to do: this phase is whole")
            else:
                await self._apply_phase(world, observed, planner)
        # Clients of before trust, and show, what was so before.
        async with self.session.world() as world:
            observed = await self.session.observe(world)
            results = await prove_whole(world, observed)
            made = await self._prove_links(world, observed, "after")
            self._connected = await observe_connected_clients(world)
            self._show_proof(world, observed, made, results)
            self._report_next_phase(observed)
            for who in describe_rejected(await read_rejected_clients(world, observed)):
                self.terminal.warn(f"{who}, which showed a certificate of an old CA")

    async def _apply_phase(self, world: World, observed: Observed, planner: Planner) -> None:
        if self._turns and not self._keep:
            await self._check_before_phase(world, observed)
        observed = await self.session.resolve_binaries(world, observed)
        plan = self._make_plan(planner, observed)
        if plan.is_empty:
            self.terminal.say("nothing to do: this phase is whole")
            return
        if await self._confirm_plan(plan):
            await self._apply(world, plan, observed, planner)

    async def _check_before_phase(self, world: World, observed: Observed) -> None:
        """Before a turn: what is seen of the hosts and of the PKI, what the operator says of consumers, every link."""
        if reasons := refuse_rotate_ca(self._stage, self.session.spec, observed):
            raise_refusal(Refusal(self.session.spec.name, reasons))
        self._connected = await observe_connected_clients(world)
        await self._confirm_consumers(observed)
        await self._prove_links(world, observed, "before")

    async def _prove_links(self, world: World, observed: Observed, when: str) -> int:
        async with self.terminal.wait_notice("making handshakes"):
            made = await prove_links(world, observed, admin_client(self.session, world))
        self.terminal.say(f"{count_text(made, 'new handshake')} {when} it: every port and every link is well")
        return made

    def _show_proof(self, world: World, observed: Observed, made: int, results: tuple[Health, ...]) -> None:
        if not self._as_json:
            self.terminal.print_data(render_health(results, self.terminal.out))
            return
        spec, stage = self.session.spec, _NEXT_STAGE.get(rotation_stage(observed.pki))
        ca = admin_files(spec, self.session.folder, world.pki).ca
        following = (
            next_phase_json(observed, stage, _CONFIRMATIONS[stage], ca, self._connected) if stage else None
        )
        told = rotation_json(spec, observed, self.done, made, results, following)
        self.terminal.print_data(json_text(told))

    async def _confirm_consumers(self, observed: Observed) -> None:
        """Nobody else sees whether consumers have what they need, before a member turns them away."""
        if self._stage == "trust" or self._have == _CONFIRMATIONS[self._stage]:
            return
        for line in self._instructions(observed, self._stage):
            self.terminal.say(line)
        if not self.terminal.can_ask:
            message = "consumers have to act before this phase, and it was not said that they have"
            why = Refused(message, hint=self._continue_hint(self._stage))
            raise_refusal(Refusal(self.session.spec.name, (why,)))
        if not await self.terminal.confirm("Has every consumer got that?"):
            raise Interrupted("nothing was changed")

    def _continue_hint(self, stage: RotationStage) -> str:
        return f"then `etcdup certs rotate-ca --consumers-have {_CONFIRMATIONS[stage]}` goes on"

    def _report_next_phase(self, observed: Observed) -> None:
        """What is to be done by whom before the next run."""
        following = _NEXT_STAGE.get(rotation_stage(observed.pki))
        if following is None:
            self.terminal.say("the old CA is trusted no more: no change of CA is under way")
            self.terminal.say(
                f"consumers may drop it too, with {self.session.spec.tls.dir}/ca.pem as it is now; a client that still "
                "shows a certificate of the old CA is turned away, which etcd's log says"
            )
            return
        for line in (*self._instructions(observed, following), self._continue_hint(following)):
            self.terminal.say(line)

    def _instructions(self, observed: Observed, before: RotationStage) -> list[str]:
        folder, pki = self.session.spec.tls.dir, observed.pki
        if before == "sign":
            return [
                f"now: give every consumer {folder}/ca.pem as its CA file. It holds the old CA and the new one",
                "  kube-apiserver: --etcd-cafile on each control plane host, and restart it there; "
                "patroni: etcd3.cacert; prometheus: ca_file",
                "  whoever trusts the old CA alone loses the cluster with the next phase",
                *self._connected_lines(),
            ]
        old = consumers_of_old_ca(pki)
        issue = [
            f"  etcdup certs issue {name} --out DIR      (or --csr FILE, or `certs forget {name}`)"
            for name in old
        ]
        return [
            "now: give every consumer a certificate of the new CA, and restart what reads it at start only",
            *(issue or ["  none that was issued here has one of the old CA alone"]),
            *self._connected_lines(),
            "  which certificate each of them shows cannot be seen as long as it is taken. Whoever copied `admin` has "
            "to copy it again",
            "  whoever still shows one of the old CA is turned away by the first member of the next phase, which then "
            "stops there; a client that knows that member alone is locked out",
        ]

    def _connected_lines(self) -> list[str]:
        if not self._connected:
            return ["  nobody is connected to a client port right now, but the hosts themselves"]
        return [
            f"  connected now: {address} (to {', '.join(names)})"
            for address, names in self._connected.items()
        ]
