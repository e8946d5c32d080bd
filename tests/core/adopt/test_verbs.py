"""What works on a cluster that waits for its take-over: the table has each verb of the command line."""

from collections.abc import Iterator
from dataclasses import replace

import click
import pytest

from etcdup.cli.main import cli
from etcdup.core.adopt.verbs import VERBS, refuse_verb
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import AdoptHost
from etcdup.core.plan.certificate_steps import RevokeCertificates, RotateAuthority
from etcdup.core.plan.database_steps import DefragmentMember, DefragmentOffline
from etcdup.core.plan.member_steps import MoveLeadership, RestartMember, StartMember
from etcdup.core.plan.step import Step
from etcdup.core.planner.guards import refuse_step
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import ObservedModel
from tests.support.texts import Texts

SPEC = spec_of(3, version=BASE)
# The table of docs/guides/adopt.md: what must wait, and the command that the hint names.
WAITING = {
    "restart": "etcdup adopt --take-over",
    "restart infra1 --drain": "etcdup adopt --take-over",
    "restore latest": "etcdup adopt --take-over",
    "restore --undo": "etcdup adopt --take-over",
    "recover": "restore a backup",
    "destroy": "etcdup adopt --release",
    "certs renew": "etcdup adopt --take-over",
    "certs renew --this-copy": "etcdup adopt --take-over",
    "certs rotate-ca": "etcdup adopt --take-over",
    "certs revoke app": "etcdup adopt --take-over",
}
WORKING = """\
plan,apply,status,health,check,logs,history,ctl,export k8s,member replace infra2 --address 10.0.0.9,certs issue app
certs list,certs forget app,certs csr,backup now,backup list,backup verify,backup drill,backup prune,backup log
maintain defrag,maintain move-leader infra1,maintain space,maintain verify,maintain repair infra2
archive list,archive delete,adopt 10.0.0.1 --yes,adopt --release""".replace("\n", ",").split(",")


def healthy() -> Observed:
    return ObservedModel(SPEC, SPEC).observed(next(first_states(tuple("HHH"))))


def observation() -> Observed:
    """Return a healthy cluster of which each host waits for its take-over."""
    observed = healthy()
    hosts = {}
    for name, seen in observed.reachable().items():
        assert seen.marker is not None
        hosts[name] = replace(seen, marker=replace(seen.marker, token="adopted-1f", adopted="waiting"))
    return replace(observed, hosts=hosts)


def verbs_of(command: click.Command, *words: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield "-".join(words)
        return
    for name, each in command.commands.items():
        yield from verbs_of(each, *words, name)


def test_the_table_has_each_verb_of_the_command_line() -> None:
    assert set(verbs_of(cli)) == set(VERBS)


@pytest.mark.parametrize("verb", WAITING)
def test_a_verb_that_waits_says_what_to_type(texts: Texts, verb: str) -> None:
    (reason,) = refuse_verb(verb, observation())
    texts(reason)
    assert WAITING[verb] in reason.hint
    assert refuse_verb(verb, healthy()) == ()


@pytest.mark.parametrize("verb", WORKING)
def test_a_verb_that_works_is_not_refused(verb: str) -> None:
    assert refuse_verb(verb, observation()) == ()


@pytest.mark.parametrize(
    ("step", "waits"),
    [
        (RestartMember(host="infra1", version=BASE, reason=""), True),
        (StartMember(host="infra1", reason=""), True),
        (RotateAuthority(stage="trust", reason=""), True),
        (RevokeCertificates(serials=("1",), roles=("client/app",), reason=""), True),
        (AdoptHost(host="infra1", reason=""), False),
        (DefragmentMember(host="infra1", in_use=1, reason=""), False),
        (DefragmentOffline(host="infra1", in_use=1, reason=""), True),
        (MoveLeadership(host="infra1", reason=""), False),
    ],
    ids=lambda value: value.kind if isinstance(value, Step) else "",
)
def test_the_guard_of_a_step_refuses_what_changes_a_host_that_waits(step: Step, waits: bool) -> None:
    reasons = refuse_step(step, SPEC, observation())
    assert any("take-over" in reason.message for reason in reasons) == waits


def test_one_host_alone_does_not_make_a_cluster_of_etcdup_wait() -> None:
    observed = healthy()
    liar = observed.reachable()["infra1"]
    assert liar.marker is not None
    lie = replace(liar, marker=replace(liar.marker, adopted="waiting"))
    lied = replace(observed, hosts={**observed.hosts, "infra1": lie})
    assert lied.adopted == ()
    assert refuse_verb("restart", lied) == ()
