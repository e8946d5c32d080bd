"""The verbs of an adoption in a random sequence, as in the other flows, without the terminal."""

from etcdup.core.adopt.adoption import plan_release
from etcdup.core.adopt.existing_file import differing_keys
from etcdup.core.spec.model import Spec
from etcdup.errors import RefusedError
from etcdup.testing.machine import FakeMachine
from etcdup.testing.network import FakeNetwork
from tests.flows.random_sequences.verbs import Operator, Verb, carry_out
from tests.flows.test_take_over import give_back, take_over
from tests.support.fake_world import spec_of
from tests.support.foreign_cluster import FOREIGN_UNIT, adopt


def runs_old_unit(machine: FakeMachine) -> bool:
    """Return whether the unit of another tool runs etcd on this machine."""
    return machine.loaded_unit == FOREIGN_UNIT


async def adopt_cluster(operator: Operator) -> None:
    """Refuse a file that is not the draft of the members that run, as the inspection does."""
    drafted = _draft_of(operator.network)
    if keys := differing_keys(operator.spec, drafted):
        raise RefusedError(f"cluster.yaml differs from these members in {', '.join(keys)}")
    await adopt(operator.spec, operator.network, operator.folder)


def _draft_of(network: FakeNetwork) -> Spec:
    """Return the cluster.yaml of the members that run. The other tool has no settings of its own."""
    running = [each.process for each in network.machines.values() if each.process is not None]
    members = next(iter(running)).cluster.members.values() if running else ()
    names = sorted(each.name for each in members)
    if not names or not all(names):
        raise RefusedError("a member does not run, or has not started")
    numbers = [int(name.removeprefix("infra")) for name in names]
    return spec_of(numbers, "", str(running[0].version))


def take_over_members(names: tuple[str, ...]) -> Verb:
    async def run(operator: Operator) -> None:
        await take_over(operator.spec, operator.network, operator.folder, names)

    return run


def give_back_member(name: str) -> Verb:
    async def run(operator: Operator) -> None:
        await give_back(operator.spec, operator.network, operator.folder, name)

    return run


async def release_cluster(operator: Operator) -> None:
    await carry_out(operator, lambda fresh: plan_release(operator.spec, fresh), proved=False)
