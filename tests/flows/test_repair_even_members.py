"""`maintain repair` of a cluster with an even number of voters, as an interrupted change of the members leaves it."""

from pathlib import Path

import pytest

from etcdup.errors import PartlyApplied, RefusedError
from tests.flows.random_sequences.verbs import Operator, remove_named
from tests.flows.test_repair import FIVE, SPEC, id_of, is_unchanged, repair, start_with
from tests.support.kill_everywhere import apply_and_check
from tests.support.texts import Texts

FOUR = FIVE.model_copy(update={"hosts": FIVE.hosts[:4]})  # no cluster.yaml has four hosts


async def test_a_fourth_voter_that_is_not_in_cluster_yaml_does_not_prevent_the_repair(
    texts: Texts, tmp_path: Path
) -> None:
    """The alarm forbids `apply` to remove it."""
    network, folder = (await start_with(tmp_path, "infra2", alarm="", spec=FOUR)).parts
    before = sorted(network.etcd.only().members)
    with pytest.raises(RefusedError) as refused:
        await repair(SPEC, network, folder)
    texts(refused.value)
    assert is_unchanged(network, before)
    await remove_named(Operator(SPEC, network, folder, 2))
    await network.sleep(10)
    with pytest.raises(PartlyApplied):  # the revocation of the certificates of infra4 is left for apply
        await repair(SPEC, network, folder)
    assert id_of(network, "infra2") not in before
    assert network.etcd.only().alarms == ()
    await apply_and_check(SPEC, network, folder, spared="infra4")


async def test_no_voter_is_named_while_it_is_unknown_which_data_is_right(
    texts: Texts, tmp_path: Path
) -> None:
    """Without one of two pairs, three members would have a majority with the same data, right or wrong."""
    network, folder = (await start_with(tmp_path, "infra1", "infra2", alarm="", spec=FOUR)).parts
    with pytest.raises(RefusedError) as refused:
        await repair(SPEC, network, folder)
    texts(refused.value)
    assert id_of(network, "infra4")
