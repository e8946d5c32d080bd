"""The command that an operator types after a host is permanently lost."""

import subprocess
from pathlib import Path

import pytest

from etcdup.core.members.bootstrap import forget_host_command
from etcdup.core.spec.load import load
from etcdup.ops.pki.former import ArchivedMembers


@pytest.mark.parametrize("written", ["./pki", "my pki/", "~/my pki", "$HOME;x", "it's"])
def test_a_shell_moves_the_certificates_of_the_host(written: str, tmp_path: Path) -> None:
    text = "name: prod\nversion: 3.6.14\nhosts: [{name: infra1, address: 10.0.0.1}]\n"
    spec = load(f'{text}tls: {{dir: "{written}"}}\n')
    folder = tmp_path / written.replace("~", str(tmp_path / "home"))
    member, former = folder / "members/infra9", folder / "former/infra9"
    for each in (member, former):
        each.mkdir(parents=True)
        (each / "server.pem").write_bytes(each.parent.name.encode())
    command = forget_host_command(spec, "infra9@10.0.0.9")
    env = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=env, check=True)
    assert not member.exists()
    contents = {path.read_bytes() for path in folder.glob("former/*/server.pem")}
    assert contents == {b"members", b"former"}, "the host left twice, and nothing is one level too deep"
    assert len(list(ArchivedMembers(folder).certs())) == 2
