"""The `--json` of verbs that change certificates, against golden files. On real members: test_certs.py."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.cli.views.certs_json import next_phase_json, renewal_json, rotation_json
from etcdup.cli.views.text import json_text
from etcdup.core.observed.connections import Client
from etcdup.ops.certs.proof import ServedCert
from etcdup.ops.world.health import prove
from etcdup.ops.world.observe import observe
from tests.cli.certs.test_issue import make_request
from tests.cli.golden import assert_golden
from tests.support.fake_world import bring_up, machines_for, spec_of, world_of
from tests.support.texts import Texts


def assert_output(name: str, text: str, folder: Path) -> None:
    """Compare the output without paths, times and random values, which differ between runs."""
    assert json.loads(text)["format"] == 1
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r'"fingerprint": "[0-9a-f]{64}"', '"fingerprint": "SHA256"', text)
    text = re.sub(r'"(not_before|not_after)": "20[^"]*\+00:00"', r'"\1": "TIME"', text)
    assert_golden(name, re.sub(r'"took_ms": [\d.]+', '"took_ms": 0.0', text))


def test_a_consumer_is_issued_a_certificate_and_forgotten(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["certs", "issue", "patroni", "--out", "away", "--json"]) == 0
    told = capsys.readouterr()
    assert_output("certs-issue.json", told.out, folder)
    assert "PRIVATE" not in told.out
    texts(told.err)  # the operator reads it in any case
    assert run(["certs", "issue", "patroni", "--out", "away", "--renew", "--json"]) == 0
    assert_output("certs-issue-renewed.json", capsys.readouterr().out, folder)
    assert (
        run(["certs", "issue", "app", "--csr", str(make_request(folder, "-newkey", "ed25519")), "--json"])
        == 0
    )
    assert_output("certs-issue-csr.json", capsys.readouterr().out, folder)
    assert run(["certs", "forget", "app", "--json"]) == 0
    forgotten = capsys.readouterr().out
    assert_output("certs-forget.json", forgotten, folder)
    assert Path(json.loads(forgotten)["kept"]).exists()
    assert run(["certs", "forget", "app", "--json"]) == 1
    assert capsys.readouterr().out == "", "a failure prints no data"


def test_requests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["certs", "csr", "--json"]) == 0
    text = capsys.readouterr().out
    assert_output("certs-csr.json", text, folder)
    assert all(
        Path(each["request"]).exists() and Path(each["key"]).exists() for each in json.loads(text)["requests"]
    )


async def test_a_renewal_and_a_ca_rotation(tmp_path: Path) -> None:
    spec = spec_of(1)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    world = world_of(spec, network, tmp_path)
    observed = await observe(world)
    results = await prove(world, observed)
    ports = (
        ServedCert("infra1", 2379, "2a", datetime(2027, 1, 15, tzinfo=UTC)),
        ServedCert("infra1", 2380, why="no handshake: no handshake within 5 s"),
    )
    renewed = {"server/infra1": ("", "it has less than 30 days left")}
    assert_output("certs-renew.json", json_text(renewal_json(spec, renewed, 2, ports, results)), tmp_path)

    world.pki.issue_consumer("app", observed.at)
    world.pki.rotate_ca("trust", observed.at)
    world.pki.rotate_ca("sign", observed.at)
    turned = replace(observed, pki=world.pki.observe())
    following = next_phase_json(
        turned, "drop", "certs", "/x/pki/ca.pem", {Client("192.168.8.9", "patroni", 812): ["infra1"]}
    )
    told = rotation_json(spec, turned, 5, 4, results, following)
    assert_output("certs-rotate-ca.json", json_text(told), tmp_path)
    world.pki.rotate_ca("drop", observed.at)
    whole = replace(observed, pki=world.pki.observe())
    assert rotation_json(spec, whole, 3, 4, results, None)["phase"] is None
