"""The contenders of the rolling restart: etcdup, a shell script, an Ansible playbook with `serial: 1`."""

import json
from pathlib import Path
from typing import Protocol

from tests.bench.contenders import HERE, ansible_env, ansible_playbook, give_python
from tests.bench.provisions import etcdup_cache, etcdup_program
from tests.bench.stopwatch import Job
from tests.lab import Lab


class Roller(Protocol):
    """A tool that restarts all members. `prepare` is not timed. `cluster` is the folder of the cluster.yaml."""

    name: str

    def prepare(self, lab: Lab, cluster: Path, number: int) -> Job:
        """Return the job of the round `number`, which counts from 1."""
        ...


class EtcdupRoll:
    """etcdup does more than the others: it first detects a changed setting and writes it to the hosts."""

    name = "etcdup"

    def __init__(self, version: str) -> None:
        self._version = version
        self._cache = etcdup_cache(version)
        self._program = etcdup_program()

    def prepare(self, lab: Lab, cluster: Path, number: int) -> Job:
        setting = f"etcd: {{auto_compaction: {8 + number}h}}\n"  # etcd reads it only when it starts
        (cluster / "cluster.yaml").write_text(lab.cluster_yaml(version=self._version) + setting)
        return Job((self._program, "apply", "--yes"), cluster, {"ETCDUP_CACHE": str(self._cache)})


class SystemctlRoll:
    name = "systemctl restart"

    def prepare(self, lab: Lab, cluster: Path, number: int) -> Job:
        script = HERE / "shell/restart.sh"
        return Job((script, lab.ssh_config, *(machine.name for machine in lab)), _folder(cluster, "shell"))


class AnsibleRoll:
    name = "Ansible"

    def prepare(self, lab: Lab, cluster: Path, number: int) -> Job:
        give_python(lab)
        folder = _folder(cluster, "ansible")
        hosts = {machine.name: {"ansible_host": machine.address} for machine in lab}
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps({"etcd": {"hosts": hosts}}))
        return Job((*ansible_playbook("restart.yml"), "-i", inventory), folder, ansible_env(lab, folder))


def _folder(cluster: Path, name: str) -> Path:
    folder = cluster / name
    folder.mkdir(exist_ok=True)
    return folder
