"""The configuration of a consumer of the cluster that has its own certificate, as text."""

import shlex
from collections.abc import Sequence

from etcdup.core.certs.exports import (
    ClientFiles,
    copy_comments,
    endpoints_of,
    etcdctl_variables,
    kube_apiserver_text,
    previous_comment,
)
from etcdup.core.certs.required import ADMIN_USER, HEALTH_USER
from etcdup.core.spec.model import Spec

ROLES = ("kube-apiserver", "patroni", "prometheus", "client")
# Common names with a meaning for etcd or etcdup.
RESERVED = (ADMIN_USER, HEALTH_USER)


def role_of(name: str) -> str:
    """Return the role of a consumer without an explicit role: its name if that is a role, otherwise `client`."""
    return name if name in ROLES else "client"


def consumer_text(role: str, spec: Spec, files: ClientFiles, previous: Sequence[str] = ()) -> str:
    """Return the configuration of the consumer. Its comments name the target path of each of `files`.

    `previous` are the endpoints of members that leave, in an unfinished change of hosts.
    """
    texts = {"kube-apiserver": kube_apiserver_text, "patroni": _patroni, "prometheus": _prometheus}
    return texts.get(role, _client)(spec, files, previous)


def _files_in(folder: str) -> ClientFiles:
    return ClientFiles(f"{folder}/ca.pem", f"{folder}/client.pem", f"{folder}/client-key.pem")


def _addresses(spec: Spec, previous: Sequence[str]) -> str:
    return ", ".join(f'"{url.removeprefix("https://")}"' for url in endpoints_of(spec, previous))


def _patroni(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    there = _files_in("/etc/patroni/etcd")
    return f"""\
# The section of Patroni for the cluster {spec.name}. It replaces any section `etcd:`.
{previous_comment(previous)}{copy_comments(files, there, "every Patroni host")}
etcd3:
  protocol: https
  hosts: [{_addresses(spec, previous)}]
  cacert: {there.ca}
  cert: {there.cert}
  key: {there.key}
"""


def _prometheus(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    there = _files_in("/etc/prometheus/etcd")
    return f"""\
# The job of Prometheus for the cluster {spec.name}. /metrics is on the client port and needs a client certificate.
{previous_comment(previous)}{copy_comments(files, there, "the host of Prometheus")}
scrape_configs:
  - job_name: etcd-{spec.name}
    scheme: https
    tls_config:
      ca_file: {there.ca}
      cert_file: {there.cert}
      key_file: {there.key}
    static_configs:
      - targets: [{_addresses(spec, previous)}]
"""


def _client(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    variables = etcdctl_variables(",".join(endpoints_of(spec, previous)), files)
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return f"# The environment of etcdctl for the cluster {spec.name}. Other clients need these values.\n{lines}\n"
