"""The command that an operator types after a host is permanently lost."""

import subprocess
from pathlib import Path

import pytest

from etcdup.core.members.bootstrap import forget_host_command
from etcdup.core.spec.load import load


@pytest.mark.parametrize("written", ["./pki", "my pki/", "~/my pki", "$HOME;x", "it's"])
def test_a_shell_moves_the_certificates_of_the_host(written: str, tmp_path: Path) -> None:
    text = "name: prod\nversion: 3.6.14\nhosts: [{name: infra1, address: 10.0.0.1}]\n"
    spec = load(f'{text}tls: {{dir: "{written}"}}\n')
    folder = tmp_path / written.replace("~", str(tmp_path / "home"))
    (folder / "members/infra9").mkdir(parents=True)
    command = forget_host_command(spec, "infra9@10.0.0.9")
    env = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=env, check=True)
    assert (folder / "former/infra9").is_dir()
    assert not (folder / "members/infra9").exists()
