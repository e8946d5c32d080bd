"""The inventory of `certs list`: rows, users, and findings about differences."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etcdup.cli.views.certs_view import render_inventory
from etcdup.cli.views.text import Paint
from etcdup.core.certs.inventory import CertFacts, CertInspection, Inventory, Link, cert_inventory
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.load import load
from tests.support.texts import Texts

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


def make_inventory(
    *inspections: CertInspection, days: int | None = None, provided: bool = False
) -> Inventory:
    return cert_inventory(PROVIDED if provided else SPEC, inspections, (), NOW, days)


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
def test_certificates_that_expire_soon(left: int, days: int | None, provided: bool, soon: bool) -> None:
    found = make_inventory(
        CertInspection("admin", "operator", facts=facts("a", left)), days=days, provided=provided
    )
    assert (found.rows[0].ends_soon, found.is_ok) == (soon, not soon)


def test_a_ca_needs_30_days_and_no_third_of_its_lifetime() -> None:
    assert make_inventory(CertInspection("ca", "operator", facts=facts("ca", 31, 3650, is_ca=True))).is_ok


def test_the_certificate_of_a_former_member_may_expire() -> None:
    found = make_inventory(CertInspection("server/i9", "operator", facts=facts("old", -5)))
    assert found.is_ok
    assert found.rows[0].used_by == ("no member: i9 is not in cluster.yaml",)


@pytest.mark.parametrize(("role", "why"), [("forgotten", "is forgotten"), ("replaced", "has a newer one")])
def test_archived_certificates_are_listed_and_need_no_renewal(texts: Texts, role: str, why: str) -> None:
    found = make_inventory(
        CertInspection("admin", "operator", facts=facts("root", 300)),
        CertInspection(f"{role}/app~1", "operator", facts=facts("app", 5)),
    )
    assert found.is_ok, "no renewal is needed"
    assert found.rows[1].used_by == (f"no client: app {why}; etcd accepts it until it expires or is revoked",)
    assert [row.in_use for row in found.rows] == [True, False]
    texts(render_inventory(found, "", Paint(colour=False)))


def test_one_certificate_is_one_row_with_all_locations() -> None:
    one = facts("both", 300)
    found = make_inventory(
        CertInspection("server/i1", "operator", facts=one),
        CertInspection("peer/i1", "operator", facts=one),
        CertInspection("server/i1", "served", "i1", 2379, one),
    )
    assert found.is_ok
    assert found.rows[0].roles == ("server/i1", "peer/i1")
    assert found.rows[0].locations == ("here", "served on i1:2379")


def test_a_port_with_another_certificate_is_a_finding() -> None:
    found = make_inventory(
        CertInspection("server/i1", "operator", facts=facts("new", 365)),
        CertInspection("server/i1", "served", "i1", 2379, facts("old", -1)),
    )
    assert [row.days_left for row in found.rows] == [365, -1]
    assert found.findings == (
        "server/i1 served on i1:2379 is not the certificate in your PKI directory "
        "(serial 1f, until 2026-05-31 00:00 UTC)",
    )


def test_a_certificate_that_cannot_be_read_is_a_finding() -> None:
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


def test_a_certificate_of_an_unknown_ca_is_a_finding(texts: Texts) -> None:
    one = facts("a", 365)
    unknown = replace(one, cert=replace(one.cert, issuer_key=""))
    texts(make_inventory(CertInspection("admin", "operator", facts=unknown)).findings)


def test_a_broken_link_is_not_ok() -> None:
    found = cert_inventory(SPEC, [], [Link("i1", "i2", "bad certificate")], NOW, None)
    assert not found.is_ok
