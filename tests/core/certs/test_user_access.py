"""Clients that etcd refuses as soon as its users are enabled, and consumers whose certificates are due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etcdup.core.audit.audit import audit
from etcdup.core.audit.findings import Evidence
from etcdup.core.certs.consumer_roles import due_consumers, gateway_clients
from etcdup.core.certs.user_access import access_problems, users_to_read
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.model import Spec
from tests.support.fake_world import spec_of
from tests.support.texts import Texts

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def cert(name: str, days: int = 300, key: str = "key") -> CertSeen:
    return CertSeen(
        "path", "sha256", name or "none", name, (), (), ("clientAuth",),
        NOW - timedelta(days=65), NOW + timedelta(days=days), "ca", key, is_ca=False,
    )  # fmt: skip


def pki_with(**names: str) -> PkiSeen:
    """Return a PKI with certificates of consumers: the name of the consumer and its common name."""
    consumers = {f"client/{name.replace('_', '-')}": cert(common) for name, common in names.items()}
    return PkiSeen("managed", certs={"admin": cert("root"), **consumers})


@pytest.mark.parametrize(
    ("consumers", "roles", "codes"),
    [
        ({"patroni": ""}, {"root": ("root",)}, []),
        ({"patroni": "patroni"}, {"root": ("root",)}, ["gateway-common-name"]),
        ({"patroni_east": "patroni-east"}, {}, ["gateway-common-name"]),
        ({"apisix": "apisix"}, {}, ["gateway-common-name"]),
        ({"app": "app", "prometheus": "prometheus"}, {"root": ("root",)}, []),
        ({"kube_apiserver": "kube-apiserver"}, {"kube-apiserver": ("root",)}, []),
        ({"kube_apiserver": "kube-apiserver"}, {"kube-apiserver": ("registry",)}, ["kube-apiserver-without-root"]),
        ({"kube_apiserver": "kube-apiserver"}, {"kube-apiserver": None}, ["kube-apiserver-without-root"]),
        ({}, {"root": ()}, ["access-denied"]),
        ({}, {"root": None}, ["access-denied"]),
    ],
)  # fmt: skip
def test_clients_that_etcd_would_refuse(
    consumers: dict[str, str], roles: dict[str, tuple[str, ...] | None], codes: list[str]
) -> None:
    pki = pki_with(**consumers)
    assert len(access_problems(spec_of(), pki, roles)) == len(codes)
    observed = Observed(NOW, {}, {}, pki)
    evidence = Evidence(observed, roles=roles)
    # A denial of etcdup is read from etcd itself, see tests/flows/test_user_access.py.
    codes = [code for code in codes if code != "access-denied"]
    levels = {each.code: each.level for each in audit(spec_of(), replace(evidence, auth=True))}
    assert [levels[code] for code in codes] == ["wrong"] * len(codes)
    without = {each.code for each in audit(spec_of(), evidence)}
    assert without & {*codes} == {*codes} & {"gateway-common-name"}


def test_the_users_that_are_read() -> None:
    pki = pki_with(kube_apiserver="kube-apiserver", patroni="", app="app")
    assert users_to_read(spec_of(), pki) == ("root", "kube-apiserver")
    assert gateway_clients(pki) == ("patroni",)


LOGS_IN = spec_of(more="etcd: {access: {user: operator, password_command: pass etcd}}\n")


def test_etcdup_is_the_user_of_its_login(texts: Texts) -> None:
    pki = pki_with()
    assert users_to_read(LOGS_IN, pki) == ("operator",)
    assert access_problems(LOGS_IN, pki, {"operator": ("root",), "root": None}) == ()
    (problem,) = access_problems(LOGS_IN, pki, {"operator": None})
    texts(problem)


@pytest.mark.parametrize(
    ("spec", "auth", "read", "reported"),
    [
        (LOGS_IN, False, True, True),
        (LOGS_IN, True, True, False),
        (LOGS_IN, False, False, False),
        (spec_of(), False, True, False),
    ],
)
def test_an_access_without_users_is_reported(spec: Spec, auth: bool, read: bool, reported: bool) -> None:
    """Without an answer of etcd it is not known whether its users are enabled."""
    observed = Observed(NOW, {}, {}, pki_with())
    evidence = Evidence(observed, auth=auth, roles={"operator": ("root",)} if read else {})
    assert ("access-not-used" in {each.code for each in audit(spec, evidence)}) == reported


@pytest.mark.parametrize(
    ("days", "named"), [(None, ["old"]), (60, ["fair", "old"]), (9999, ["fair", "new", "old"])]
)
def test_consumers_that_a_renewal_does_not_reach_are_named(
    texts: Texts, days: int | None, named: list[str]
) -> None:
    certs = {
        "client/old": cert("old", 20),
        "client/fair": cert("fair", 50, key=""),
        "client/new": cert("new"),
    }
    lines = due_consumers(Observed(NOW, {}, {}, PkiSeen("managed", certs=certs)), days)
    assert [line.split()[5] for line in lines] == named
    texts(lines)
