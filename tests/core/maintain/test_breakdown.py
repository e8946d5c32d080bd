"""Few rows explain most bytes; resources and namespaces of Kubernetes have their names; the growth to the quota."""

from datetime import UTC, datetime, timedelta

import pytest

from etcdup.core.maintain.breakdown import ResourceUse, choose_prefixes, kubernetes_resources
from etcdup.core.maintain.growth import Growth, growth_of
from etcdup.core.maintain.space import Use, parent_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def use(size: int) -> Use:
    return Use(1, size, 0, 0, 0)


def test_a_prefix_with_many_small_parts_stays_one_row() -> None:
    prefixes = {b"/registry/pods/%d/" % number: use(10) for number in range(300)}
    prefixes |= {b"/registry/events/default/": use(2000), b"/registry/events/kube-system/": use(4000)}
    prefixes |= {b"/registry/nodes/": use(100), b"/service/pg/": use(50)}
    rows = choose_prefixes(prefixes)
    assert [(each.prefix, each.use.bytes) for each in rows] == [
        (b"/registry/events/kube-system/", 4000),
        (b"/registry/pods/", 3000),
        (b"/registry/events/default/", 2000),
        (b"/registry/nodes/", 100),
        (b"/service/", 50),
    ]


def test_keys_directly_below_a_prefix_have_their_own_row() -> None:
    rows = choose_prefixes({b"/a/": use(10), b"/a/b/": use(90), b"": use(1)})
    assert [(each.prefix, each.use.bytes, each.is_part) for each in rows] == [
        (b"/a/b/", 90, False),
        (b"/a/", 10, True),
        (b"", 1, True),
    ]
    assert choose_prefixes({}) == ()


def test_at_most_the_wanted_number_of_rows_is_shown() -> None:
    assert len(choose_prefixes({b"/%d/" % number: use(1) for number in range(100)})) == 20


def test_resources_of_kubernetes_have_their_names() -> None:
    found = kubernetes_resources(
        {
            b"/registry/pods/default/": use(10),
            b"/registry/pods/kube-system/": use(20),
            b"/registry/minions/": use(5),
            b"/registry/services/specs/default/": use(4),
            b"/registry/cert-manager.io/certificates/default/": use(3),
            b"/registry/apiregistration.k8s.io/apiservices/": use(2),
            b"/service/pg/": use(1),
        }
    )
    assert found == (
        ResourceUse("pods", "", Use(2, 30, 0, 0, 0)),
        ResourceUse("pods", "kube-system", use(20)),
        ResourceUse("pods", "default", use(10)),
        ResourceUse("minions", "", use(5)),
        ResourceUse("services/specs", "", use(4)),
        ResourceUse("services/specs", "default", use(4)),
        ResourceUse("certificates.cert-manager.io", "", use(3)),
        ResourceUse("certificates.cert-manager.io", "default", use(3)),
        ResourceUse("apiservices.apiregistration.k8s.io", "", use(2)),
    )


@pytest.mark.parametrize(
    ("prefix", "above"), [(b"/a/b/", b"/a/"), (b"/a/", b"/"), (b"/", b""), (b"a/", b""), (b"", b"")]
)
def test_parents(prefix: bytes, above: bytes) -> None:
    assert parent_of(prefix) == above


def test_the_growth_is_that_of_the_last_week() -> None:
    sizes = [
        (NOW - timedelta(days=30), 900),
        (NOW - timedelta(days=4), 600),
        (NOW - timedelta(days=1), 100),
        (NOW, 1000),
    ]
    assert growth_of(sizes, 2000) == Growth(NOW - timedelta(days=4), 100.0, 10.0)
    assert growth_of(sizes, 900) == Growth(NOW - timedelta(days=4), 100.0, 0.0)
    shrunk = growth_of([(NOW - timedelta(days=1), 1100), (NOW, 1000)], 2000)
    assert shrunk == Growth(NOW - timedelta(days=1), -100.0, None)
    assert growth_of([(NOW - timedelta(minutes=59), 1), (NOW, 1000)], 2000) is None
    assert growth_of([(NOW, 1000)], 2000) is None
    assert growth_of([], 2000) is None
