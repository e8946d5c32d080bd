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

# Common names with a meaning for etcd or etcdup.
RESERVED = (ADMIN_USER, HEALTH_USER)


def consumer_text(role: str, spec: Spec, files: ClientFiles, previous: Sequence[str] = ()) -> str:
    """Return the configuration of the consumer. Its comments name the target path of each of `files`.

    `previous` are the endpoints of members that leave, in an unfinished change of hosts.
    """
    texts = {
        "kube-apiserver": kube_apiserver_text,
        "patroni": _patroni,
        "prometheus": _prometheus,
        "apisix": _apisix,
        "gateway": _gateway,
    }
    return texts.get(role, _client)(spec, files, previous)


def _files_in(folder: str) -> ClientFiles:
    return ClientFiles(f"{folder}/ca.pem", f"{folder}/client.pem", f"{folder}/client-key.pem")


def _addresses(spec: Spec, previous: Sequence[str]) -> str:
    return ", ".join(f'"{url.removeprefix("https://")}"' for url in endpoints_of(spec, previous))


def _patroni(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    there = _files_in("/etc/patroni/etcd")
    return f"""\
# The section of Patroni for the cluster {spec.name}. It replaces any section `etcd:`.
# etcd 3.6 and later need Patroni 4.1.5 or later: older releases do not recognise its errors. etcd 3.4 and 3.5 need
# Patroni 3.0 or later. With the users of etcd enabled (`auth`), they need 3.3 or later, and 3.4.42, 3.5.28 and later
# patches need 4.1.1 or later.
{previous_comment(previous)}{copy_comments(files, there, "every Patroni host", "postgres")}
# Another Patroni cluster on the same host needs a directory of its own.
# On Debian, paste the section into /etc/patroni/VERSION-CLUSTER.yml, not into dcs.yml: its tools cannot read paths.
etcd3:
  protocol: https
  hosts: [{_addresses(spec, previous)}]
  cacert: {there.ca}
  cert: {there.cert}
  key: {there.key}
  # Only if the users of etcd are enabled (`auth`). The certificate has no common name, because etcd refuses each
  # request to its JSON gateway otherwise. SCOPE is the `scope` of Patroni. First run:
  #   etcdup ctl -- user add patroni
  #   etcdup ctl -- role add patroni
  #   etcdup ctl -- role grant-permission patroni --prefix=true readwrite /service/SCOPE/
  #   etcdup ctl -- user grant-role patroni patroni
  # username: patroni
  # password: PASSWORD
"""


def _apisix(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    there = _files_in("/usr/local/apisix/conf/etcd")
    hosts = "\n".join(f'      - "{url}"' for url in endpoints_of(spec, previous))
    return f"""\
# The sections of APISIX for the cluster {spec.name}, for conf/config.yaml.
{previous_comment(previous)}{copy_comments(files, there, "every APISIX host", "nobody")}
deployment:
  etcd:
    host:
{hosts}
    prefix: /apisix
    tls:
      cert: {there.cert}
      key: {there.key}
      verify: true
    # Only if the users of etcd are enabled (`auth`). The user needs readwrite on the prefix /apisix:
    # user: apisix
    # password: PASSWORD
apisix:
  ssl:
    ssl_trusted_certificate: {there.ca}
"""


def _gateway(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    del previous  # One URL is enough for an example.
    url = spec.client_url(spec.hosts[0])
    return f"""\
# The JSON gateway of etcd for the cluster {spec.name}. The certificate has no common name: with the users of etcd
# enabled (`auth`), etcd refuses each request to the gateway otherwise. The client then logs in with a password.
curl --cacert {shlex.quote(files.ca)} --cert {shlex.quote(files.cert)} --key {shlex.quote(files.key)} \\
  --data '{{"key": "Zm9v"}}' {url}/v3/kv/range
"""


def _prometheus(spec: Spec, files: ClientFiles, previous: Sequence[str]) -> str:
    there = _files_in("/etc/prometheus/etcd")
    return f"""\
# The job of Prometheus for the cluster {spec.name}. /metrics is on the client port and needs a client certificate.
{previous_comment(previous)}{copy_comments(files, there, "the host of Prometheus", "prometheus")}
# The certificate can read and write all keys. If you enable the users of etcd (`auth`), add no user prometheus: the
# metrics still work, and etcd refuses the data.
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
