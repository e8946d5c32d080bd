"""What other programs need to use a cluster, as text. Paths are where kubeadm looks for them (rule 105)."""

from dataclasses import dataclass

from etcdup.core.spec.model import Spec

_KUBERNETES = "/etc/kubernetes/pki"


@dataclass(frozen=True)
class ClientFiles:
    """Paths of a client's files: the CA that vouches for the members, its certificate and its key."""

    ca: str
    cert: str
    key: str


ON_CONTROL_PLANE = ClientFiles(
    ca=f"{_KUBERNETES}/etcd/ca.crt",
    cert=f"{_KUBERNETES}/apiserver-etcd-client.crt",
    key=f"{_KUBERNETES}/apiserver-etcd-client.key",
)


def kubeadm_text(spec: Spec, files: ClientFiles) -> str:
    """A ClusterConfiguration that makes kubeadm use this cluster as external etcd. `files` are here."""
    endpoints = "\n".join(f"      - {spec.client_url(host)}" for host in spec.hosts)
    there = ON_CONTROL_PLANE
    return f"""\
# kubeadm with cluster {spec.name} as its external etcd: `kubeadm init --config THIS_FILE`.
{copy_comments(files)}
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
etcd:
  external:
    endpoints:
{endpoints}
    caFile: {there.ca}
    certFile: {there.cert}
    keyFile: {there.key}
"""


def kube_apiserver_text(spec: Spec, files: ClientFiles) -> str:
    """kube-apiserver's own flags, a line each."""
    there = ON_CONTROL_PLANE
    return f"""\
# kube-apiserver's flags for cluster {spec.name}.
{copy_comments(files)}
--etcd-servers={spec.endpoints()}
--etcd-cafile={there.ca}
--etcd-certfile={there.cert}
--etcd-keyfile={there.key}
"""


def env_text(spec: Spec, files: ClientFiles) -> str:
    """For a shell on this machine; it must reach the members' client ports itself."""
    variables = etcdctl_variables(spec.endpoints(), files)
    lines = "\n".join(f"export {name}={_quoted(value)}" for name, value in variables.items())
    return f"""\
# etcdctl for cluster {spec.name}, as its administrator: eval "$(etcdup export env)"
# Where only SSH leads to the members, `etcdup ctl -- ARGS` goes through it.
{lines}
"""


def etcdctl_variables(endpoints: str, files: ClientFiles) -> dict[str, str]:
    """The environment by which etcdctl finds a cluster and is let in.

    Without ETCDCTL_API: 3 is the default from etcd 3.4 on, and 3.6 warns of a variable that it does not know.
    """
    return {
        "ETCDCTL_ENDPOINTS": endpoints,
        "ETCDCTL_CACERT": files.ca,
        "ETCDCTL_CERT": files.cert,
        "ETCDCTL_KEY": files.key,
    }


def copy_comments(
    files: ClientFiles, there: ClientFiles = ON_CONTROL_PLANE, where: str = "every control-plane node"
) -> str:
    """Comments that say which file goes where."""
    pairs = ((files.ca, there.ca), (files.cert, there.cert), (files.key, there.key))
    width = max(len(here) for here, _ in pairs)
    lines = [f"#   {here:{width}}  ->  {to}" for here, to in pairs]
    who = "root" if there is ON_CONTROL_PLANE else "its user"
    heading = f"# Copy these files from here to {where} first; the key readable for {who} alone:"
    return "\n".join([heading, *lines])


def _quoted(value: str) -> str:
    """In single quotes, as POSIX shells take it."""
    return "'" + value.replace("'", "'\\''") + "'"
