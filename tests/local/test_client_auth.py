"""Which settings of etcd let clients connect without a certificate, and which do not."""

import http.client
import json
import ssl
import time
from pathlib import Path

import pytest

from etcdup.core.host.closed_member import closed_settings
from etcdup.core.host.settings import CLIENT_AUTH_VARIABLE, CLIENT_CA_VARIABLE
from etcdup.core.spec.layout import layout_of
from tests.support.etcd_binaries import why_not
from tests.support.etcd_certs import Authority
from tests.support.settings_member import (
    SettingsMember,
    running_with,
    settings_in,
    settings_spec,
    write_files,
)

S = 30.0


@pytest.fixture(params=["3.4.23", "3.7.1"])
def version(request: pytest.FixtureRequest) -> str:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return str(request.param)


def written(member: SettingsMember, *, with_cert: bool) -> bool:
    """Return whether a write through the JSON gateway succeeds, as soon as the member answers in some way."""
    context = ssl.create_default_context(cafile=str(member.folder / "ca.pem"))
    if with_cert:
        context.load_cert_chain(member.folder / "root.pem", member.folder / "root-key.pem")
    deadline = time.monotonic() + S
    body = json.dumps({"key": "YQ==", "value": "Yg=="})
    while member.process.poll() is None and time.monotonic() < deadline:
        port = member.spec.etcd.client_port
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        try:
            connection.request("POST", "/v3/kv/put", body)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return True
        except ConnectionRefusedError:
            pass  # etcd does not listen yet.
        except (ssl.SSLError, ConnectionResetError, http.client.RemoteDisconnected):
            return False
        finally:
            connection.close()
        time.sleep(0.1)
    raise AssertionError(member.log[-2000:])


@pytest.mark.parametrize(("client_auth", "accepted"), [("required", False), ("optional", True)])
def test_a_client_without_a_certificate(
    version: str, client_auth: str, accepted: bool, tmp_path: Path
) -> None:
    """Clients with a certificate are accepted in both cases."""
    spec, authority = settings_spec(version, tls=f"client_auth: {client_auth}"), Authority()
    write_files(tmp_path, authority)
    authority.issue("root").write(tmp_path, "root")
    with running_with(spec, settings_in(spec).variables(), tmp_path) as member:
        assert written(member, with_cert=True)
        assert written(member, with_cert=False) == accepted


def test_a_ca_file_alone_requires_certificates(version: str, tmp_path: Path) -> None:
    """So `optional` leaves the CA file out."""
    spec, authority = settings_spec(version, tls="client_auth: optional"), Authority()
    write_files(tmp_path, authority)
    authority.issue("root").write(tmp_path, "root")
    variables = {**settings_in(spec).variables(), CLIENT_CA_VARIABLE: str(tmp_path / "ca.pem")}
    assert variables[CLIENT_AUTH_VARIABLE] == "false"
    with running_with(spec, variables, tmp_path) as member:
        assert written(member, with_cert=True)
        assert not written(member, with_cert=False)


def test_a_closed_member_requires_the_certificate_of_etcdup(version: str, tmp_path: Path) -> None:
    """Its CA is not that of the clients."""
    spec, authority, own = settings_spec(version, tls="client_auth: optional"), Authority(), Authority()
    write_files(tmp_path, authority)
    layout = layout_of(spec, spec.hosts[0])
    closed = tmp_path / "closed"
    closed.mkdir()
    for name, content in (("ca.pem", own.pem),):
        (closed / name).write_bytes(content)
    pair = own.issue("closed", ["127.0.0.1"])
    (closed / "cert.pem").write_bytes(pair.cert)
    (closed / "key.pem").write_bytes(pair.key)
    (tmp_path / "ca.pem").write_bytes(authority.pem + own.pem)
    own.issue("root").write(tmp_path, "root")
    variables = closed_settings(settings_in(spec), spec, spec.hosts[0], layout).variables()
    variables = {name: value.replace(layout.closed, str(closed)) for name, value in variables.items()}
    with running_with(spec, variables, tmp_path) as member:
        assert written(member, with_cert=True)
        assert not written(member, with_cert=False)
        authority.issue("root").write(tmp_path, "root")
        assert not written(member, with_cert=True)
