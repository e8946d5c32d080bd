"""From bare machines to a healthy cluster, with each install source and login; and a start after a power cut."""

import shutil
from pathlib import Path

import pytest

from tests.lab import OPER_PASSWORD, Lab
from tests.lab.operator import Operator
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, release_sha256, release_tarball, why_not
from tests.support.etcd_certs import Authority


@pytest.fixture(autouse=True)
def _binaries(request: pytest.FixtureRequest) -> None:
    version = request.node.callspec.params["version"] if hasattr(request.node, "callspec") else "3.6.14"
    if reason := why_not(version):
        pytest.skip(f"no etcd {version}: {reason}")


def assert_survives_power_cut(operator: Operator, size: int, version: str) -> None:
    """Assert that a second apply has nothing to do, and that members and data are back after a power cut."""
    operator.assert_nothing_to_do()
    status = operator.status()
    assert [member["version"] for member in status["members"]] == [version] * size
    operator.ctl("put", "greeting", "hello")
    machines = operator.lab.machines
    for machine in machines:
        machine.kill()
    operator.lab.each(lambda machine: machine.start())
    operator.lab.wait_ssh()
    operator.wait_healthy()
    assert operator.ctl("get", "greeting", "--print-value-only").strip() == "hello"
    operator.assert_nothing_to_do()


def path_install(version: str) -> str:
    return f"from: path, path: {etcd_binaries(version)}"


@pytest.mark.parametrize("version", one_in_turn("3.7.1", "3.4.23", "3.5.33", "3.6.14"))
@pytest.mark.in_turn(0, 5)
def test_five_members_by_path(operator: Operator, version: str) -> None:
    operator.lab.add_machine()
    operator.lab.add_machine()
    operator.write(version=version, install=path_install(version))
    operator.apply()
    assert_survives_power_cut(operator, 5, version)


@pytest.mark.parametrize("version", ["3.4.23"])
@pytest.mark.in_turn(1, 5)
def test_three_members_by_package(operator: Operator, version: str) -> None:
    operator.lab.serve_packages()
    operator.write(version=version, install="from: package")
    assert "etcd 3.4.23" in operator.apply()
    for machine in operator.lab:
        assert machine.run("apt-mark showhold").stdout.split() == ["etcd-client", "etcd-server"]
        assert machine.run("ls /var/lib/etcd").stdout.split() == ["member"], (
            "Debian's single node must never start"
        )
    assert_survives_power_cut(operator, 3, version)


@pytest.mark.parametrize("version", ["3.5.33"])
@pytest.mark.in_turn(2, 5)
def test_three_members_as_a_sudo_user_with_a_password_through_a_jump_host(
    operator: Operator, version: str
) -> None:
    jump, *others = operator.lab.machines
    for machine in others:
        machine.cut_off_from(operator.lab.operator_address)
    operator.write(
        version=version,
        install=path_install(version),
        user="oper",
        ssh=f"sudo: true, jump: admin@{jump.address}",
    )
    operator.env["ETCDUP_SUDO_PASSWORD"] = OPER_PASSWORD
    operator.apply()
    for machine in operator.lab:
        assert OPER_PASSWORD not in machine.run("journalctl --no-pager; ps -ef").stdout
    assert OPER_PASSWORD not in (operator.folder / ".etcdup" / "prod.jsonl").read_text()
    for machine in others:
        machine.reconnect()
        machine.cut_off_from(operator.lab.operator_address)
    operator.assert_nothing_to_do()


@pytest.mark.parametrize("version", ["3.7.3"])
@pytest.mark.in_turn(3, 5)
def test_three_members_by_release_as_a_sudo_user(operator: Operator, version: str, tmp_path: Path) -> None:
    mirror = serve_mirror(operator.lab, version, tmp_path)
    install = f"from: release, mirror: '{mirror}', sha256: {{amd64: '{release_sha256(version)}'}}"
    operator.write(version=version, install=install, user="admin", ssh="sudo: true")
    operator.env["ETCDUP_CACHE"] = str(tmp_path / "cache")
    assert "install.sha256" in operator.run("plan").stdout
    operator.apply()
    assert_survives_power_cut(operator, 3, version)


@pytest.mark.parametrize(
    ("version", "fault", "message"),
    [
        ("3.7.3", "other sum", "expected"),
        ("3.7.3", "no sum", "no checksum"),
        ("3.6.14", "no sum", "expected"),
        ("3.7.3", "no tarball", "404"),
    ],
)
def test_a_release_with_a_wrong_or_missing_checksum_is_refused(
    operator: Operator, version: str, fault: str, message: str, tmp_path: Path
) -> None:
    """The checksum of 3.6.14 is pinned. The mirror has a tarball that was built here, with another checksum."""
    mirror = serve_mirror(operator.lab, version, tmp_path, fault)
    digest = "0" * 64 if fault == "other sum" else release_sha256(version)
    given = "" if fault == "no sum" else f", sha256: {{amd64: '{digest}'}}"
    operator.write(version=version, install=f"from: release, mirror: '{mirror}'{given}")
    operator.env["ETCDUP_CACHE"] = str(tmp_path / "cache")
    done = operator.run("apply", "--yes")
    assert done.returncode in (1, 5), done.stderr
    assert message in done.stderr, done.stderr
    assert "hint: " in done.stderr
    for machine in operator.lab:
        assert machine.run("ls /opt/etcd /etc/etcd 2>/dev/null", check=False).stdout == ""
    operator.lab.keep_machines()


def serve_mirror(lab: Lab, version: str, folder: Path, fault: str = "") -> str:
    """Serve a mirror with the layout of etcd's releases in the lab, and return its URL."""
    tarball = release_tarball(version)
    release = folder / "mirror" / f"v{version}"
    release.mkdir(parents=True)
    if fault != "no tarball":
        shutil.copy(tarball, release / tarball.name)
    return lab.http_server(folder / "mirror").url


@pytest.mark.parametrize("version", ["3.6.14"])
@pytest.mark.in_turn(4, 5)
def test_three_members_with_certificates_of_another_ca(operator: Operator, version: str) -> None:
    ca = issue_provided(operator.lab, operator.folder)
    operator.write(version=version, install=path_install(version), more=PROVIDED)
    assert " serves serial " not in operator.apply(), (
        "new members serve the certificates with which they started"
    )
    assert_survives_power_cut(operator, 3, version)
    assert not (operator.folder / "pki").exists()
    issue_provided(operator.lab, operator.folder, ca)
    renewed = operator.apply()
    print(renewed)
    assert renewed.count(" serves serial ") == 6
    assert "restart" not in renewed
    operator.assert_nothing_to_do()


PROVIDED = "tls: {mode: provided, ca: ca.pem, cert: kubernetes.pem, key: kubernetes-key.pem}\n"


def issue_provided(lab: Lab, folder: Path, authority: Authority | None = None) -> Authority:
    """Write the guide's three files for all members, signed by the given CA or a new one, and return the CA."""
    authority = authority or Authority("kubernetes")
    addresses = [*(machine.address for machine in lab), "127.0.0.1"]
    authority.issue("kubernetes", addresses).write(folder, "kubernetes")
    (folder / "ca.pem").write_bytes(authority.pem)
    return authority
