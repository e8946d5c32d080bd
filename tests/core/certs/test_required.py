"""The required certificates, when one is due, and the faults of provided ones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etcdup.core.certs.required import (
    DesiredCert,
    Fault,
    ProvidedCert,
    check_provided,
    desired_certs,
    desired_consumer_cert,
    why_due,
)
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.model import Spec
from etcdup.core.spec.names import COMMON_NAME_LIMIT, peer_common_name
from tests.support.texts import Texts

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BOTH = ("serverAuth", "clientAuth")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def spec_of(*hosts: dict[str, Any], name: str = "prod") -> Spec:
    return Spec.model_validate({"name": name, "version": "3.6.14", "hosts": list(hosts)})


def spec_of_three() -> Spec:
    return spec_of(*({"name": f"infra{n}", "address": a} for n, a in enumerate(ADDRESSES, 1)))


def desired_cert(spec: Spec, role: str) -> DesiredCert:
    return next(each for each in desired_certs(spec) if each.role == role)


CA_CERT = CertSeen(
    path="ca.pem",
    sha256="",
    fingerprint="",
    common_name="our CA",
    dns_names=(),
    addresses=(),
    usages=(),
    not_before=NOW - 100 * DAY,
    not_after=NOW + 3000 * DAY,
    issuer_key="key of our CA",
    key="key of our CA",
    is_ca=True,
)


def leaf(role: str = "peer/infra1", **changed: Any) -> CertSeen:
    """Return a certificate as wanted, ten days old, with the given changes."""
    want = desired_cert(spec_of_three(), role)
    cert = replace(
        CA_CERT,
        path=f"{role}.pem",
        common_name=want.common_name,
        dns_names=want.dns_names,
        addresses=want.addresses,
        usages=want.usages,
        not_before=NOW - 10 * DAY,
        not_after=NOW + 355 * DAY,
        key="key of the member",
        is_ca=False,
    )
    return replace(cert, **changed)


# --- required certificates


def test_each_member_has_three_certificates_and_the_operator_one() -> None:
    roles = [each.role for each in desired_certs(spec_of_three())]
    kinds = ("server", "peer", "health")
    assert roles == [f"{kind}/infra{n}" for n in (1, 2, 3) for kind in kinds] + ["admin"]


@pytest.mark.parametrize("kind", ["server", "peer"])
def test_certificates_contain_all_addresses_of_a_member(kind: str) -> None:
    spec = spec_of({"name": "infra1", "address": "etcd1.example.com", "listen_address": "172.16.0.1"})
    want = desired_cert(spec, f"{kind}/infra1")
    assert want.dns_names == ("etcd1.example.com", "infra1", "localhost")
    assert want.addresses == ("172.16.0.1", "127.0.0.1", "::1")  # rule 18
    assert want.usages == BOTH  # rule 19


def test_a_loopback_address_is_contained_once() -> None:
    assert desired_cert(
        spec_of({"name": "localhost", "address": "127.0.0.1"}), "server/localhost"
    ).addresses == (
        "127.0.0.1",
        "::1",
    )


@pytest.mark.parametrize("role", ["health/infra1", "admin"])
def test_client_certificates_have_client_auth_only(role: str) -> None:
    want = desired_cert(spec_of_three(), role)
    assert (want.usages, want.dns_names, want.addresses) == (("clientAuth",), (), ())


def test_only_peers_have_the_common_name_of_peers() -> None:
    """Rule 20: clients and peers have one CA, so only the common name distinguishes peers."""
    peers = {each.common_name for each in desired_certs(spec_of_three()) if each.role.startswith("peer/")}
    others = {
        each.common_name for each in desired_certs(spec_of_three()) if not each.role.startswith("peer/")
    }
    assert peers == {"etcdup:prod:peer"} == {peer_common_name(spec_of_three())}
    assert not peers & others
    assert desired_consumer_cert("kube-apiserver") == DesiredCert("client/kube-apiserver", "kube-apiserver")


def test_common_names_of_long_cluster_names_fit_and_differ() -> None:
    host: dict[str, Any] = {"name": "a", "address": "10.0.0.1"}
    names = [peer_common_name(spec_of(host, name="c" * 62 + last)) for last in "xy"]
    assert all(len(name) <= COMMON_NAME_LIMIT for name in names)
    assert names[0] != names[1]


# --- when one is due


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"key": ""}, "its key is missing or does not match"),
        ({"issuer_key": "another"}, "it was signed by another CA"),
        ({"issuer_key": ""}, "it was signed by another CA"),
        ({"common_name": "infra1"}, "its common name is `infra1`, not `etcdup:prod:peer`"),
        ({"addresses": ("127.0.0.1", "::1")}, "it does not contain 10.0.0.1"),
        (
            {"addresses": (), "dns_names": ()},
            "it does not contain 10.0.0.1, 127.0.0.1, ::1, infra1, localhost",
        ),
        ({"addresses": ("10.0.0.1", "10.0.0.9", "127.0.0.1", "::1")}, None),
        ({"usages": ("serverAuth",)}, "it has no extended key usage clientAuth"),
        ({"usages": ()}, "it has no extended key usage serverAuth, clientAuth"),
        ({"not_after": NOW}, "it expired on 2026-06-01 12:00 UTC"),
        ({"not_before": NOW + DAY}, "it is not valid before 2026-06-02 12:00 UTC"),
        ({"not_before": NOW - 60 * DAY, "not_after": NOW + 30 * DAY}, None),
        (
            {"not_before": NOW - 61 * DAY, "not_after": NOW + 30 * DAY},
            "it expires on 2026-07-01 12:00 UTC: less than a third of its lifetime is left",
        ),
    ],
)
def test_the_reason_why_a_certificate_is_due(changed: dict[str, Any], why: str | None) -> None:
    assert why_due(desired_cert(spec_of_three(), "peer/infra1"), leaf(**changed), CA_CERT, NOW) == why


def test_a_missing_certificate_and_a_missing_ca() -> None:
    want = desired_cert(spec_of_three(), "admin")
    assert why_due(want, None, CA_CERT, NOW) == "it does not exist yet"
    assert why_due(want, leaf("admin"), None, NOW) == "there is no CA yet"


def test_a_new_address_makes_server_and_peer_due_and_no_other() -> None:
    moved = spec_of(
        {"name": "infra1", "address": "10.0.0.9"},
        *({"name": f"infra{n}", "address": f"10.0.0.{n}"} for n in (2, 3)),
    )
    whys = {want.role: why_due(want, leaf(want.role), CA_CERT, NOW) for want in desired_certs(moved)}
    reason = "it does not contain 10.0.0.9"
    assert {role: why for role, why in whys.items() if why} == {
        "server/infra1": reason,
        "peer/infra1": reason,
    }


# --- provided certificates


def guide_cert(**changed: Any) -> CertSeen:
    """Return kubernetes.pem of the guide: one certificate for three members, with all three addresses."""
    cert = leaf("server/infra1", path="kubernetes.pem", common_name="kubernetes", addresses=ADDRESSES)
    return replace(cert, **changed)


def sets_of(cert: CertSeen, spec: Spec | None = None, **changed: Any) -> tuple[ProvidedCert, ...]:
    roles = [each.role for each in desired_certs(spec or spec_of_three())]
    plain = ProvidedCert("", cert, (CA_CERT,), CA_CERT, "kubernetes-key.pem", True)
    return tuple(replace(plain, role=role, **changed) for role in roles)


def faults_of(cert: CertSeen, **changed: Any) -> tuple[Fault, ...]:
    return check_provided(spec_of_three(), sets_of(cert, **changed), NOW)


def test_the_certificate_of_the_guide_is_good() -> None:
    assert faults_of(guide_cert()) == ()
    assert faults_of(guide_cert(usages=())) == ()
    assert faults_of(guide_cert(usages=("any",))) == ()


def test_a_missing_address_is_named_with_its_member_once() -> None:
    (fault,) = faults_of(guide_cert(addresses=ADDRESSES[:2]))
    assert str(fault) == "kubernetes.pem does not contain the address 10.0.0.3 of infra3"
    assert fault.members == ("infra3",)
    assert fault.hint == "issue it with the addresses of all members in its subject alternative names"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"usages": ("serverAuth",)}, "has no extended key usage clientAuth"),
        ({"usages": ("clientAuth",)}, "has no extended key usage serverAuth"),
        (
            {"not_after": NOW},
            "contains the certificate of `kubernetes`, which expired on 2026-06-01 12:00 UTC",
        ),
        (
            {"not_before": NOW + DAY},
            "contains the certificate of `kubernetes`, which is not valid before 2026-06-02 12:00 UTC",
        ),
    ],
)
def test_a_fault_of_a_file_is_reported_once_for_all_members(changed: dict[str, Any], message: str) -> None:
    (fault,) = faults_of(guide_cert(**changed))
    assert str(fault) == f"kubernetes.pem {message}"
    assert fault.members == ("infra1", "infra2", "infra3")
    assert not fault.is_warning


def test_an_end_within_a_week_is_a_warning(texts: Texts) -> None:
    (fault,) = faults_of(guide_cert(not_after=NOW + 7 * DAY - timedelta(seconds=1)))
    assert fault.is_warning
    texts(fault)
    assert faults_of(guide_cert(not_after=NOW + 7 * DAY)) == ()


def test_keys_and_issuers_are_checked() -> None:
    assert [str(f) for f in faults_of(guide_cert(), key_fits=False)] == [
        "kubernetes-key.pem is not the key of kubernetes.pem"
    ]
    assert [str(f) for f in faults_of(guide_cert(), chain=())] == [
        "kubernetes.pem was not signed by the CA in ca.pem"
    ]
    no_ca = replace(CA_CERT, is_ca=False)
    for chain in ((), (no_ca,)):
        assert [str(f) for f in faults_of(guide_cert(), ca=no_ca, chain=chain)] == [
            "ca.pem contains the certificate of `our CA`, which is not a CA certificate"
        ]


def test_intermediate_certificates_are_checked() -> None:
    between = replace(CA_CERT, path="kubernetes.pem", common_name="between", usages=("serverAuth",))
    faults = faults_of(guide_cert(), chain=(replace(between, not_after=NOW - DAY), CA_CERT))
    assert {str(fault) for fault in faults} == {
        "kubernetes.pem contains the certificate of `between`, which expired on 2026-05-31 12:00 UTC",
        "kubernetes.pem has no extended key usage clientAuth",
    }


def test_the_hint_says_why_a_dns_name_alone_is_not_enough(texts: Texts) -> None:
    spec = spec_of({"name": "infra1", "address": "etcd1.example.com", "listen_address": "10.0.0.1"})
    seen = guide_cert(dns_names=("*.example.com",), addresses=())
    (fault,) = check_provided(spec, sets_of(seen, spec), NOW)
    texts(fault)


@pytest.mark.parametrize(
    ("host", "cert", "missing"),
    [
        ({"address": "etcd1.example.com"}, {"dns_names": ("etcd1.example.com",)}, []),
        ({"address": "etcd1.example.com"}, {"dns_names": ("*.Example.com",)}, []),
        ({"address": "etcd1.example.com"}, {"dns_names": ("*.com",)}, ["name etcd1.example.com"]),
        ({"address": "a.b.example.com"}, {"dns_names": ("*.example.com",)}, ["name a.b.example.com"]),
        ({"address": "2001:DB8::0:1"}, {"addresses": ("2001:db8::1",)}, []),
        (
            {"address": "10.0.0.1", "listen_address": "172.16.0.1"},
            {"addresses": ("10.0.0.1",)},
            ["address 172.16.0.1"],
        ),
        # Rule 18, tested on real etcd: the kernel connects to 127.77.x.1 from 127.0.0.1.
        ({"address": "127.77.0.1"}, {"addresses": ("127.77.0.1",)}, ["address 127.0.0.1"]),
    ],
)
def test_names_that_provided_certificates_must_contain(
    host: dict[str, Any], cert: dict[str, Any], missing: list[str]
) -> None:
    spec = spec_of({"name": "infra1", **host})
    seen = guide_cert(**{"dns_names": (), "addresses": (), **cert})
    found = check_provided(spec, sets_of(seen, spec), NOW)
    assert [str(f) for f in found] == [
        f"kubernetes.pem does not contain the {name} of infra1" for name in missing
    ]
