"""Which clock is wrong: the clock of a host, or the clock of this machine."""

import pytest

from etcdup.core.host.clocks import refuse_clocks

HOUR = 3600.0
THIS_MACHINE = ""


@pytest.mark.parametrize(
    ("ahead", "wrong"),
    [
        ((0, 0, 0), ()),
        ((-HOUR, HOUR, 0), ()),  # certificates are backdated by an hour
        ((-HOUR - 1, 0, 0), ("infra1",)),
        ((HOUR + 1, 0, -2 * HOUR), ("infra1", "infra3")),
        ((3 * HOUR, 3 * HOUR, 3 * HOUR), (THIS_MACHINE,)),
        ((-6000 * HOUR, -6000 * HOUR, -6000 * HOUR + 20), (THIS_MACHINE,)),
        ((3 * HOUR, 3 * HOUR, 0), ("infra1", "infra2")),  # two against two
        ((3 * HOUR, -3 * HOUR, 9 * HOUR), ("infra1", "infra2", "infra3")),
        ((3 * HOUR, 3 * HOUR), (THIS_MACHINE,)),
        ((3 * HOUR,), ("infra1",)),  # there is no second witness
        ((), ()),
    ],
)
def test_the_message_names_the_clock_that_is_wrong(ahead: tuple[float, ...], wrong: tuple[str, ...]) -> None:
    clocks = {f"infra{number}": by for number, by in enumerate(ahead, 1)}
    refused = refuse_clocks(clocks, HOUR)
    assert tuple(each.host for each in refused) == wrong
    assert all(each.hint and each.rules == (94,) for each in refused)
