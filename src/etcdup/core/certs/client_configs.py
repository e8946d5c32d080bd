"""What a consumer of the cluster puts into its own configuration, once it has a certificate of its own."""

import shlex

from etcdup.core.certs.exports import ClientFiles, copy_comments, etcdctl_variables, kube_apiserver_text
from etcdup.core.certs.required import ADMIN_USER, HEALTH_USER
from etcdup.core.spec.model import Spec

ROLES = ("kube-apiserver", "patroni", "prometheus", "client")
# Common names that mean something to etcd or to etcdup already.
RESERVED = (ADMIN_USER, HEALTH_USER)


def role_of(name: str) -> str:
    """What a consumer is that was given no role: what it is called, or just a client."""
    return name if name in ROLES else "client"


def consumer_text(role: str, spec: Spec, files: ClientFiles) -> str:
    """The consumer's configuration, with comments that say which of `files` goes where."""
    texts = {"kube-apiserver": kube_apiserver_text, "patroni": _patroni, "prometheus": _prometheus}
    return texts.get(role, _client)(spec, files)


def _files_in(folder: str) -> ClientFiles:
    return ClientFiles(f"{folder}/ca.pem", f"{folder}/client.pem", f"{folder}/client-key.pem")


def _addresses(spec: Spec) -> str:
    return ", ".join(f'"{spec.client_url(host).removeprefix("https://")}"' for host in spec.hosts)


def _patroni(spec: Spec, files: ClientFiles) -> str:
    there = _files_in("/etc/patroni/etcd")
    return f"""\
# Patroni's section for cluster {spec.name}, in place of any `etcd:`.
{copy_comments(files, there, "every Patroni host")}
etcd3:
  protocol: https
  hosts: [{_addresses(spec)}]
  cacert: {there.ca}
  cert: {there.cert}
  key: {there.key}
"""


def _prometheus(spec: Spec, files: ClientFiles) -> str:
    there = _files_in("/etc/prometheus/etcd")
    return f"""\
# Prometheus' job for cluster {spec.name}: /metrics is on the client port, for certificates of its CA.
{copy_comments(files, there, "Prometheus' host")}
scrape_configs:
  - job_name: etcd-{spec.name}
    scheme: https
    tls_config:
      ca_file: {there.ca}
      cert_file: {there.cert}
      key_file: {there.key}
    static_configs:
      - targets: [{_addresses(spec)}]
"""


def _client(spec: Spec, files: ClientFiles) -> str:
    variables = etcdctl_variables(spec.endpoints(), files)
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return f"# etcdctl's environment for cluster {spec.name}; other clients take the same four.\n{lines}\n"
