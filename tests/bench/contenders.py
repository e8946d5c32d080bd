"""The contenders: etcdup, a shell script and an Ansible playbook. All make the same cluster."""

import json
import re
import shutil
from pathlib import Path
from typing import Protocol

from tests.bench.provisions import ansible_venv, etcdup_cache, etcdup_program, python_layer
from tests.bench.stopwatch import Job
from tests.lab import Lab
from tests.support.etcd_binaries import etcd_binaries, release_tarball

HERE = Path(__file__).parent


class Contender(Protocol):
    """A tool that is measured. `prepare` sets up the machines and the folder, and is not timed."""

    name: str

    def did_nothing(self, output: str) -> bool:
        """Return whether a run with this output changed nothing on any host."""
        ...

    def prepare(self, lab: Lab, folder: Path) -> Job: ...


class Etcdup:
    name = "etcdup"

    def __init__(self, version: str) -> None:
        self._version = version
        self._cache = etcdup_cache(version)
        self._program = etcdup_program()

    def prepare(self, lab: Lab, folder: Path) -> Job:
        (folder / "cluster.yaml").write_text(lab.cluster_yaml(version=self._version))
        return Job((self._program, "apply", "--yes"), folder, {"ETCDUP_CACHE": str(self._cache)})

    def did_nothing(self, output: str) -> bool:
        return "nothing to do" in output.lower()


class Shell:
    name = "shell script"

    def __init__(self, version: str) -> None:
        self._version = version

    def prepare(self, lab: Lab, folder: Path) -> Job:
        script = HERE / "shell/bring-up.sh"
        etcdctl = etcd_binaries(self._version) / "etcdctl"
        hosts = [f"{machine.name}={machine.address}" for machine in lab]
        tarball = release_tarball(self._version)
        return Job((script, lab.ssh_config, tarball, self._version, etcdctl, *hosts), folder)

    def did_nothing(self, output: str) -> bool:
        return False  # the script repeats all its work each time


class Ansible:
    name = "Ansible"

    def __init__(self, version: str) -> None:
        self._version = version
        self._playbook = ansible_playbook("site.yml")

    def prepare(self, lab: Lab, folder: Path) -> Job:
        give_python(lab)
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps(self._inventory(lab, folder)))
        return Job((*self._playbook, "-i", inventory), folder, ansible_env(lab, folder))

    def _inventory(self, lab: Lab, folder: Path) -> dict[str, object]:
        hosts = {machine.name: {"ansible_host": machine.address} for machine in lab}
        facts = {
            "etcd_version": self._version,
            "etcd_tarball": str(release_tarball(self._version)),
            "etcd_cluster_token": "prod-bench",
            "pki_dir": str(folder / "pki"),
        }
        return {"all": {"vars": facts, "children": {"etcd": {"hosts": hosts}}}}

    def did_nothing(self, output: str) -> bool:
        return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def ansible_playbook(name: str) -> tuple[str | Path, ...]:
    """Return the command that runs a playbook of tests/bench, without `-i INVENTORY`."""
    return (ansible_venv() / "bin/python", "-m", "ansible.cli.playbook", HERE / "ansible" / name)


def give_python(lab: Lab) -> None:
    """Install Python, which Ansible needs, on the machines that have none."""
    layer = python_layer()
    for machine in lab:
        if not (machine.root / "usr/bin/python3").exists():
            shutil.copytree(layer, machine.root, symlinks=True, dirs_exist_ok=True)


def ansible_env(lab: Lab, folder: Path) -> dict[str, str]:
    """Return the environment of Ansible. OpenSSH keeps connections open between tasks and between runs."""
    return {
        "ANSIBLE_CONFIG": str(HERE / "ansible/ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_SSH_ARGS": f"-F {lab.ssh_config} -o ControlMaster=auto -o ControlPersist=60s",
        "LC_ALL": "C.UTF-8",
    }
