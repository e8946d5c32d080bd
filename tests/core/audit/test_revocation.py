"""Findings about revocation lists: their files, the processes that read them, and their dates."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from etcdup.core.audit.findings import Evidence
from etcdup.core.audit.revocation import revocation_findings
from tests.support.audit_evidence import gather_evidence, with_hosts
from tests.support.fake_world import spec_of

SPEC = spec_of()
LIST = "/etc/etcd/pki/crl.der"


@pytest.fixture
async def evidence(tmp_path: Path) -> Evidence:
    return await gather_evidence(SPEC, tmp_path)


def found(evidence: Evidence) -> list[tuple[str, str, str]]:
    return [(each.level, each.host, each.code) for each in revocation_findings(SPEC, evidence)]


async def test_a_good_cluster_has_no_finding(evidence: Evidence) -> None:
    assert found(evidence) == []


@pytest.mark.parametrize("fault", ["missing", "other"])
async def test_a_missing_or_different_list_is_wrong(evidence: Evidence, fault: str) -> None:
    files = dict(evidence.observed.reachable()["infra2"].files)
    if fault == "missing":
        del files[LIST]
    else:
        files[LIST] = replace(files[LIST], sha256="other")
    assert found(with_hosts(evidence, infra2={"files": files})) == [
        ("wrong", "infra2", "revocation-list-wrong")
    ]


async def test_a_list_that_etcd_cannot_read_is_wrong(evidence: Evidence) -> None:
    files = dict(evidence.observed.reachable()["infra2"].files)
    files[LIST] = replace(files[LIST], mode=0o600)
    (finding,) = revocation_findings(SPEC, with_hosts(evidence, infra2={"files": files}))
    assert finding.code == "revocation-list-wrong"
    assert finding.what == f"{LIST} has another mode or owner."


async def test_a_process_without_a_list_is_wrong(evidence: Evidence) -> None:
    seen = evidence.observed.reachable()["infra2"]
    environment = {k: v for k, v in seen.unit.environment.items() if k != "ETCD_PEER_CRL_FILE"}
    changed = with_hosts(evidence, infra2={"unit": replace(seen.unit, environment=environment)})
    assert found(changed) == [("wrong", "infra2", "revocation-list-unread")]


async def test_a_list_that_expires_is_reported_once(evidence: Evidence) -> None:
    """etcd uses it after its end too, so this is advice."""
    later = replace(evidence.observed, at=evidence.observed.at + timedelta(days=300))
    assert found(replace(evidence, observed=later)) == [("advice", "", "revocation-list-expires")]
