"""`etcdup certs rotate-ca`."""

from pathlib import Path

from etcdup.cli.apply import Applying
from etcdup.cli.certs_list import admin_client
from etcdup.cli.failure import Interrupted
from etcdup.cli.health_view import render_health
from etcdup.cli.session import Session
from etcdup.cli.words import counted
from etcdup.core.observed import Observed
from etcdup.core.rotating import next_stage, plan_rotation
from etcdup.core.rotation import Stage, dropping, holding_old, may_rotate, reached
from etcdup.core.steps import Plan, Refusal, Refused
from etcdup.errors import UsageError
from etcdup.ops.apply import Planner, prove_whole, raise_refusal
from etcdup.ops.rotation import prove_links
from etcdup.ops.world import World

_AGAIN = "then `etcdup certs rotate-ca --consumers-ready`"


def rotate_authority(file: Path, *, yes: bool, consumers_ready: bool) -> int:
    """One phase, gated by new handshakes before and after it."""
    return Rotating(Session.begin(file), yes=yes, ready=consumers_ready).carry_through()


class Rotating(Applying):
    """One run of `certs rotate-ca`: an apply that may begin with a turn of the CA."""

    def __init__(self, session: Session, *, yes: bool, ready: bool) -> None:
        super().__init__(session, "certs rotate-ca" + (" --consumers-ready" if ready else ""), yes=yes)
        self._ready = ready
        self._turns = False
        self._stage: Stage = "trust"

    def planner(self, observed: Observed) -> Planner:
        spec, token = self.session.spec, self.session.fresh_token()
        stage = self._stage = next_stage(spec, observed, token)
        at = reached(observed.pki)
        self._turns = stage != (at or ("drop" if dropping(spec, observed) else None))
        if self._turns and (reasons := may_rotate(stage, spec, observed)):
            raise_refusal(Refusal(spec.name, reasons))
        if stage == "trust" and self._turns and self._ready:
            hint = (
                "without --consumers-ready this makes another CA; with it, it goes on with one that was begun"
            )
            raise UsageError("no change of CA is under way: nothing to do", hint=hint)

        def planned(fresh: Observed) -> Plan | Refusal:
            return plan_rotation(spec, fresh, token, stage)

        return planned

    async def run(self) -> None:
        async with self.session.world() as world:
            observed = await self.session.observed(world)
            planner = self.planner(observed)
            observed = await self.session.settled(world, observed)
            plan = self._planned(planner, observed)
            if self._turns and self._stage != "trust":
                await self._consumers_are_ready(observed)
            if self._turns:
                await self._prove(world, observed, "before")
            self.show(plan)
            if not self._yes:
                await self.agree(f"Do this to cluster {plan.cluster}?")
            await self._apply(world, plan, observed, planner)
        # Clients of before trust, and show, what was so before.
        async with self.session.world() as world:
            observed = await self.session.observed(world)
            results = await prove_whole(world, observed)
            await self._prove(world, observed, "after")
            self.terminal.data(render_health(results, self.terminal.out))
            self._tell(observed)

    async def _prove(self, world: World, observed: Observed, when: str) -> None:
        async with self.terminal.patience("making handshakes"):
            made = await prove_links(world, observed, admin_client(self.session, world))
        self.terminal.say(f"{counted(made, 'new handshake')} {when} it: every port and every link is well")

    async def _consumers_are_ready(self, observed: Observed) -> None:
        """No other sees whether consumers have what they need: neither etcd nor any host tells."""
        if self._ready:
            return
        for line in self._todo(observed, self._stage):
            self.terminal.say(line)
        if not self.terminal.can_ask:
            why = Refused(
                "consumers have to act before this phase, and it was not said that they have", hint=_AGAIN
            )
            raise_refusal(Refusal(self.session.spec.name, (why,)))
        if not await self.terminal.confirm("Has every consumer been given that?"):
            raise Interrupted("nothing was changed")

    def _tell(self, observed: Observed) -> None:
        """What is to be done by whom before the next run."""
        at = reached(observed.pki)
        if at is None:
            self.terminal.say("the old CA is trusted no more: the rotation is complete")
            self.terminal.say(
                f"consumers may drop it too, with {self.session.spec.tls.dir}/ca.pem as it is now; a client that still "
                "shows a certificate of the old CA is turned away, which etcd's log says"
            )
            return
        for line in self._todo(observed, "sign" if at == "trust" else "drop"):
            self.terminal.say(line)
        self.terminal.say(f"{_AGAIN} goes on")

    def _todo(self, observed: Observed, before: Stage) -> list[str]:
        folder, pki = self.session.spec.tls.dir, observed.pki
        if before == "sign":
            return [
                f"now: give every consumer {folder}/ca.pem as its CA file. It holds the old CA and the new one",
                "  kube-apiserver: --etcd-cafile on each control plane host, and restart it there; "
                "patroni: etcd3.cacert; prometheus: ca_file",
                "  whoever trusts the old CA alone loses the cluster with the next phase",
            ]
        old = holding_old(pki)
        issue = [
            f"  etcdup certs issue {name} --out DIR      (or --csr FILE, or `certs forget {name}`)"
            for name in old
        ]
        return [
            "now: give every consumer a certificate of the new CA, and restart what reads it at start only",
            *(issue or ["  none that was issued here has one of the old CA alone"]),
            "  which certificate a connected client shows cannot be seen from here: etcd does not tell. "
            "Whoever copied `admin` has to copy it again",
            "  whoever shows one of the old CA is locked out by the next phase",
        ]
