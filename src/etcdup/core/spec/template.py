"""The cluster.yaml that `etcdup init` writes."""

import json
import re
from collections.abc import Sequence

from etcdup.core.spec.version import Version

# Stand-ins for the operator's own, when `init` is called without addresses.
EXAMPLE_HOSTS = (("infra1", "192.168.8.66"), ("infra2", "192.168.8.67"), ("infra3", "192.168.8.68"))

# Text that YAML could take for something else than text is put in quotes.
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
    """A commented cluster.yaml. `hosts` are names and addresses; without any, examples stand in."""
    lines = "\n".join(
        f"  - {{name: {_scalar(each)}, address: {_scalar(at)}}}" for each, at in hosts or EXAMPLE_HOSTS
    )
    return f"""\
# An etcd cluster. `etcdup plan` shows what would be done, `etcdup apply` does it.
name: {_scalar(name)}
version: {version}

# 1, 3, 5 or 7 machines. `address` is what members and clients reach; add `ssh_address:` if SSH uses another,
# and `zone:` to be told when one failure could take a majority.{"" if hosts else " Put your own in here."}
hosts:
{lines}

# How they are reached; what is left out comes from your ssh_config. `sudo: true` if the user is not root.
ssh: {_ssh(ssh_user, identity_file)}

# Where the binaries come from: auto | release | package | go | path (with `path: FOLDER`).
install: {{from: auto}}

etcd:
  data_dir: /var/lib/etcd   # a disk with fast fsync; never moved or deleted by etcdup
  quota: 2GiB               # the largest the database may grow; 8GiB at most
  auto_compaction: 8h       # history that is kept

# etcdup makes the certificates and keeps the CA here; keep this folder safe, it never leaves this machine.
# With files of your own: {{mode: provided, ca: ca.pem, cert: kubernetes.pem, key: kubernetes-key.pem}}
tls: {{mode: managed, dir: ./pki}}

# A folder here, or s3://bucket/prefix. `etcdup keep` makes them; `etcdup backup now` makes one.
backup: {{to: ./backups, every: 1h, keep: {{hourly: 24, daily: 7}}}}
"""


def _ssh(user: str | None, identity_file: str | None) -> str:
    pairs = [("user", user), ("identity_file", identity_file)]
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in pairs if value) + "}"


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
