"""Create the cluster.yaml that `etcdup init` writes."""

import json
import re
from collections.abc import Sequence

from etcdup.core.spec.version import Version

# The schema for editors, next to cluster.yaml. `etcdup init` writes it.
SCHEMA_FILE = ".etcdup/cluster.schema.json"
# Example hosts for `init` without addresses. The operator replaces them.
EXAMPLE_HOSTS = (("infra1", "192.168.8.66"), ("infra2", "192.168.8.67"), ("infra3", "192.168.8.68"))
_REPLACE_HOSTS = "# These are examples: replace the names and addresses with those of your hosts.\n"

# A text that YAML could read as another type is written in quotes.
_PLAIN = re.compile(r"[A-Za-z/~][A-Za-z0-9._/~-]*|\d{1,3}(\.\d{1,3}){2,3}", re.ASCII)
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def cluster_yaml(
    name: str,
    hosts: Sequence[tuple[str, str]],
    version: Version | str,
    *,
    ssh_user: str | None = "root",
    identity_file: str | None = None,
) -> str:
    """Return a commented cluster.yaml. `hosts` are names and addresses; if empty, EXAMPLE_HOSTS are used."""
    lines = "\n".join(
        f"  - {{name: {scalar(each)}, address: {scalar(at)}}}" for each, at in hosts or EXAMPLE_HOSTS
    )
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# An etcd cluster. `etcdup plan` shows the steps, `etcdup apply` runs them.
name: {scalar(name)}
version: {version}

{"" if hosts else _REPLACE_HOSTS}# 1, 3, 5 or 7 hosts. Members and clients connect to `address`.
# Add `ssh_address: ADDRESS` to a host if SSH connects to another address.
# Add `zone: NAME` to each host; etcdup then warns if the failure of one zone would lose the quorum.
hosts:
{lines}

# SSH. Settings that are absent here come from your ssh_config. A user other than root needs `sudo: true`.
ssh: {_ssh(ssh_user, identity_file)}

# Source of the binaries of etcd: auto, release, package, go, path or host. `from: path` also needs `path: DIRECTORY`.
install: {{from: auto}}

etcd:
  data_dir: /var/lib/etcd   # use a disk with fast fsync; etcdup never deletes this data
  quota: 2GiB               # maximum size of the database; more than 8GiB is not recommended
  auto_compaction: 8h       # how long etcd keeps the history of a key

# etcdup creates the CA and the certificates in `dir`. Keep this directory safe: the key of the CA is only there.
# To use your own: {{mode: provided, ca: ca.pem, cert: kubernetes.pem, key: kubernetes-key.pem}}
tls: {{mode: managed, dir: ./pki}}

# Destination of backups: a directory on this machine, or s3://bucket/prefix.
# etcdup takes no backup by itself: run `etcdup backup now` from cron or a systemd timer.
# `etcdup backup prune` deletes the backups that `keep` does not keep.
backup: {{to: ./backups, keep: {{hourly: 24, daily: 7}}}}
"""


def _ssh(user: str | None, identity_file: str | None) -> str:
    pairs = [("user", user), ("identity_file", identity_file)]
    written = [f"{key}: {scalar(value)}" for key, value in pairs if value]
    if user not in (None, "root"):
        written.append("sudo: true")
    return "{" + ", ".join(written) + "}"


def scalar(text: str) -> str:
    """Return the text as a value of YAML, in quotes if YAML could read it as something else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
