"""What each verb prints about a broken cluster: first the cause, then what follows from it, then what helps."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest

from etcdup.cli.apply.apply import ask_to_apply, converge
from etcdup.cli.apply.plan import exit_code_of
from etcdup.cli.run.change import Change, ChangeRun
from etcdup.cli.run.failure import failure_text
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.check_view import render_check
from etcdup.cli.views.health_view import health_of, render_health
from etcdup.cli.views.plan_view import render_plan, render_refusal
from etcdup.cli.views.status_view import render_status, status_json, status_of
from etcdup.cli.views.text import Paint
from etcdup.core.audit.audit import audit
from etcdup.core.audit.findings import Evidence, HostInspection, PortProbe
from etcdup.core.certs.inventory import Link, LinkPort
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.verdict.verdict import judge
from etcdup.errors import EtcdupError
from etcdup.ops.world.health import prove_each
from etcdup.ops.world.world import World
from tests.cli.golden import assert_golden
from tests.support.audit_evidence import SAFE_SETTINGS
from tests.support.broken_clusters import BROKEN, Broken
from tests.support.fake_world import TOKEN
from tests.support.texts import Texts

PLAIN, WIDTH = Paint(False), 100


class FakeSession(Session):
    """A session whose machines are fakes."""

    broken: Broken

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        yield self.broken.world()

    async def resolve_binaries(self, world: World, observed: Observed) -> Observed:
        return observed

    def generate_token(self) -> str:
        return TOKEN


def session_of(broken: Broken) -> FakeSession:
    session = FakeSession(broken.spec, broken.folder, Terminal())
    object.__setattr__(session, "broken", broken)
    return session


async def status(session: FakeSession, world: World, observed: Observed) -> str:
    return render_status(status_of(session.spec, observed), PLAIN, WIDTH)


async def health(session: FakeSession, world: World, observed: Observed) -> str:
    verdict = judge(session.spec, observed, with_files=False)
    return render_health(await prove_each(world, observed), PLAIN, verdict, WIDTH)


async def plan(session: FakeSession, world: World, observed: Observed) -> str:
    answer = session.planner()(observed)
    if isinstance(answer, Refusal):
        return render_refusal(answer, PLAIN, WIDTH)
    return render_plan(answer, PLAIN, WIDTH)


async def check(session: FakeSession, world: World, observed: Observed) -> str:
    evidence = evidence_of(session.broken, observed)
    return render_check(session.spec, evidence, audit(session.spec, evidence), PLAIN)


def evidence_of(broken: Broken, observed: Observed) -> Evidence:
    """Return what `check` reads on the hosts: their disks, and their connections to the ports of other hosts."""
    inspections = {}
    for name, seen in observed.reachable().items():
        if name in observed.leaving:
            continue
        probes = tuple(
            PortProbe(other.name, port, answered=is_open(broken, name, other.name))
            for other in broken.spec.hosts
            if other.name != name
            for port in (2379, 2380)
        )
        inspections[name] = HostInspection(
            name,
            SAFE_SETTINGS if seen.unit.is_running else {},
            disks=(),
            synchronised=True,
            port_probes=probes,
        )
    pairs = [(one, other) for one in inspections for other in observed.answering() if one != other]
    links = (Link(*pair, port=port) for pair in pairs for port in get_args(LinkPort))
    return Evidence(observed, inspections, links=tuple(links), hashes=broken.hashes)


def is_open(broken: Broken, source: str, target: str) -> bool:
    machines = [broken.network.machine_of(broken.spec.host(each)) for each in (source, target)]
    return all(machine is not None and machine.answers and not machine.isolated for machine in machines)


SCREENS = {"status": status, "health": health, "plan": plan, "check": check}


async def apply(session: FakeSession, capsys: pytest.CaptureFixture[str]) -> str:
    """Run `etcdup apply`. A plan with steps is only shown: the question that follows ends the run."""
    change = Change(session.planner(), ask_to_apply(session))
    try:
        await converge(ChangeRun(session, "apply"), lambda _: change)
    except EtcdupError as error:
        shown = failure_text(error.message, error.detail, error.hint, PLAIN) + "\n"
    else:
        shown = ""
    printed = capsys.readouterr()
    if "confirmation required" in shown:
        return "(the plan as above, and the question)\n"
    # Whether a notice of a wait is printed depends on the time.
    said = [line for line in printed.err.splitlines(keepends=True) if not line.startswith("  ")]
    return "".join(said) + printed.out + shown


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_cluster(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = await BROKEN[name](tmp_path)
    session = session_of(broken)
    parts = []
    for verb, show in SCREENS.items():
        async with session.world() as world:
            parts += [f"$ etcdup {verb}", await show(session, world, await session.observe_with_lock(world))]
    parts += ["$ etcdup apply", await apply(session, capsys)]
    text = "\n".join(parts)
    assert_promises(text, broken)
    assert_golden(f"broken/{name}.txt", re.sub(r'(ETCDUP_TRUST)="\w+"', r'\1="0123456789ab"', text))


def assert_promises(text: str, broken: Broken) -> None:
    """What holds on each screen, whatever is broken."""
    assert "0 of 0 members" not in text
    assert "etcdup destroy" not in text
    if any(not machine.answers for machine in broken.machines.values()):
        assert "nothing to do" not in text


async def test_members_with_the_same_fault_are_one_cause(texts: Texts, tmp_path: Path) -> None:
    """The hint of one member names it in the command. The hint of several members has the logs of all."""
    broken = await BROKEN["client-port-closed"](tmp_path)
    broken.silent = frozenset({"infra2", "infra3"})
    session = session_of(broken)
    async with session.world() as world:
        (cause,) = judge(session.spec, await session.observe(world)).causes
    assert (cause.code, cause.hosts) == ("member-silent", ("infra2", "infra3"))
    texts(cause)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("two-hosts-unreachable", False), ("one-stopped-two-unreachable", False), ("all-hosts-unreachable", False),
        ("clock-of-this-machine", False), ("certificates-expired", False), ("other-pki", False),
        ("pki-missing", False), ("two-members-stopped", True), ("peers-apart", True), ("fresh-hosts", True),
    ],
)  # fmt: skip
async def test_what_was_not_observed_is_unknown_in_each_verb(name: str, known: bool, tmp_path: Path) -> None:
    session = session_of(await BROKEN[name](tmp_path))
    async with session.world() as world:
        observed = await session.observe(world)
        state = health_of(await prove_each(world, observed), judge(session.spec, observed, with_files=False))
    shown = status_of(session.spec, observed)
    assert (shown.verdict.is_known, state) == (known, "unavailable" if known else "unknown")
    assert (status_json(shown)["has_quorum"], status_json(shown)["quorum_known"]) == (False, known)
    assert ("unknown" in render_status(shown, PLAIN, WIDTH).splitlines()[0]) != known


@pytest.mark.parametrize(
    ("name", "healthy"),
    [("one-member-stopped", False), ("fresh-hosts", False), ("users-enabled", False), ("file-edited", True)],
)
async def test_exit_code_of_status(name: str, healthy: bool, tmp_path: Path) -> None:
    """With `--exit-code`, the exit code is 1 unless each voter is healthy and nothing is wrong."""
    session = session_of(await BROKEN[name](tmp_path))
    async with session.world() as world:
        assert status_of(session.spec, await session.observe(world)).is_healthy == healthy


@pytest.mark.parametrize(
    ("name", "code"), [("one-host-unreachable", 1), ("one-member-stopped", 3), ("locked-by-another", 0)]
)
async def test_exit_code_of_plan(name: str, code: int, tmp_path: Path) -> None:
    """With `--exit-code`, the exit code is 0 only if each host was observed and there is nothing to do."""
    session = session_of(await BROKEN[name](tmp_path))
    async with session.world() as world:
        planned = session.planner()(await session.observe(world))
    assert isinstance(planned, Plan)
    assert exit_code_of(planned) == code
