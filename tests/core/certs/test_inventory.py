"""What `certs list` makes of what was seen where."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etcdup.cli.views.certs_view import render_inventory
from etcdup.cli.views.text import Paint
from etcdup.core.certs.inventory import CertFacts, CertInspection, Inventory, Link, cert_inventory
from etcdup.core.observed.model import CertSeen
from etcdup.core.spec.load import load

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPEC = load(
    "name: prod\nversion: 3.6.14\nhosts:\n"
    + "".join(f"  - {{name: i{n}, address: 10.0.0.{n}}}\n" for n in (1, 2, 3)),
    "cluster.yaml",
)
PROVIDED = SPEC.model_copy(update={"tls": SPEC.tls.model_copy(update={"mode": "provided"})})


def facts(name: str, left: int, life: int = 365, *, is_ca: bool = False) -> CertFacts:
    until = NOW + timedelta(days=left)
    cert = CertSeen(
        f"{name}.pem",
        "sum",
        name,
        name,
        (),
        (),
        (),
        until - timedelta(days=life),
        until,
        "ca-key",
        "key",
        is_ca,
    )
    return CertFacts(cert, f"CN={name}", "CN=ca", "1f")


def make_inventory(*sightings: CertInspection, days: int | None = None, provided: bool = False) -> Inventory:
    return cert_inventory(PROVIDED if provided else SPEC, sightings, (), NOW, days)


@pytest.mark.parametrize(
    ("left", "days", "provided", "soon"),
    [
        (122, None, False, False),
        (121, None, False, True),
        (121, 100, False, False),
        (99, 100, False, True),
        (31, None, True, False),
        (29, None, True, True),
        (-1, 0, False, True),
    ],
)
def test_what_ends_soon(left: int, days: int | None, provided: bool, soon: bool) -> None:
    found = make_inventory(
        CertInspection("admin", "operator", facts=facts("a", left)), days=days, provided=provided
    )
    assert (found.rows[0].ends_soon, found.is_ok) == (soon, not soon)


def test_a_ca_has_no_third_of_its_life_to_lose() -> None:
    assert make_inventory(CertInspection("ca", "operator", facts=facts("ca", 31, 3650, is_ca=True))).is_ok


def test_a_former_members_certificate_may_expire() -> None:
    found = make_inventory(CertInspection("server/i9", "operator", facts=facts("old", -5)))
    assert found.is_ok
    assert found.rows[0].used_by == ("nobody: i9 is no member",)


@pytest.mark.parametrize(("role", "why"), [("forgotten", "is forgotten"), ("replaced", "has a newer one")])
def test_what_etcd_takes_although_it_is_set_aside(role: str, why: str) -> None:
    found = make_inventory(
        CertInspection("admin", "operator", facts=facts("root", 300)),
        CertInspection(f"{role}/app~1", "operator", facts=facts("app", 5)),
    )
    assert found.is_ok, "nobody shall renew it"
    assert found.rows[1].used_by == (
        f"nobody: app {why}; etcd lets it in until this ends or its CA is dropped",
    )
    assert [row.is_archived for row in found.rows] == [False, True]
    text = render_inventory(found, "", Paint(colour=False))
    assert "etcd still takes 1 certificate that nobody should use" in text
    assert "the first ends in 300 days" in text, "of those in use"


def test_one_certificate_is_one_row_with_all_places() -> None:
    one = facts("both", 300)
    found = make_inventory(
        CertInspection("server/i1", "operator", facts=one),
        CertInspection("peer/i1", "operator", facts=one),
        CertInspection("server/i1", "served", "i1", 2379, one),
    )
    assert found.is_ok
    assert found.rows[0].roles == ("server/i1", "peer/i1")
    assert found.rows[0].locations == ("here", "served on i1:2379")


def test_a_port_that_serves_another_certificate_is_found_and_listed() -> None:
    found = make_inventory(
        CertInspection("server/i1", "operator", facts=facts("new", 365)),
        CertInspection("server/i1", "served", "i1", 2379, facts("old", -1)),
    )
    assert [row.days_left for row in found.rows] == [365, -1]
    assert found.findings == (
        "server/i1 served on i1:2379 is another certificate than yours here (serial 1f, until 2026-05-31 00:00 UTC)",
    )


def test_what_cannot_be_seen_is_not_well() -> None:
    found = make_inventory(
        CertInspection("admin", "operator", facts=facts("a", 365)),
        CertInspection("peer/i2", "served", "i2", 2380, why="Connection refused"),
        CertInspection("", "host", "i3", why="i3 cannot be reached: no route"),
    )
    assert found.findings == (
        "peer/i2 served on i2:2380: Connection refused",
        "i3 cannot be reached: no route",
    )
    assert not found.is_ok


def test_a_leaf_of_another_ca_is_a_stranger() -> None:
    one = facts("a", 365)
    stranger = replace(one, cert=replace(one.cert, issuer_key=""))
    assert (
        "signed by none of the CAs"
        in make_inventory(CertInspection("admin", "operator", facts=stranger)).findings[0]
    )


def test_a_broken_link_is_not_well() -> None:
    found = cert_inventory(SPEC, [], [Link("i1", "i2", "bad certificate")], NOW, None)
    assert not found.is_ok
