"""The configuration of other programs that use the cluster, as text. Paths are those of kubeadm (rule 105)."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from etcdup.core.spec.model import Spec

_KUBERNETES = "/etc/kubernetes/pki"


@dataclass(frozen=True)
class ClientFiles:
    """The paths of the files of a client: the CA of the members, its certificate and its key."""

    ca: str
    cert: str
    key: str


ON_CONTROL_PLANE = ClientFiles(
    ca=f"{_KUBERNETES}/etcd/ca.crt",
    cert=f"{_KUBERNETES}/apiserver-etcd-client.crt",
    key=f"{_KUBERNETES}/apiserver-etcd-client.key",
)


def endpoints_of(spec: Spec, previous: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the client URLs of all members. `previous` are those of members that leave, in an unfinished change."""
    return tuple(dict.fromkeys((*previous, *map(spec.client_url, spec.hosts))))


def previous_comment(previous: Sequence[str]) -> str:
    """Return a comment about endpoints that will not work any more, with its line end; empty if there are none."""
    if not previous:
        return ""
    return (
        f"# The cluster is changing its hosts: {', '.join(previous)} will leave.\n"
        "# When `etcdup apply` is complete, print this again, and remove these endpoints from the configuration.\n"
    )


_KUBERNETES_COMMENTS = """\
# If you enable the users of etcd (`auth`), the user kube-apiserver needs the role root: etcd permits a compaction only
# with it. Run `etcdup ctl -- user add kube-apiserver --no-password` and
# `etcdup ctl -- user grant-role kube-apiserver root` before `etcdup ctl -- auth enable`.
# Backups of etcd contain the Secrets of Kubernetes. With --encryption-provider-config a restore needs that key too."""


def kubeadm_text(spec: Spec, files: ClientFiles, previous: Sequence[str] = ()) -> str:
    """Return a ClusterConfiguration of kubeadm with this cluster as external etcd. `files` are on this machine."""
    endpoints = "\n".join(f"      - {url}" for url in endpoints_of(spec, previous))
    there = ON_CONTROL_PLANE
    return f"""\
# kubeadm 1.31 or later with the cluster {spec.name} as external etcd. Run `kubeadm init --config THIS_FILE`.
# Older versions of kubeadm read `kubeadm.k8s.io/v1beta3`, with the same section `etcd`.
{previous_comment(previous)}{copy_comments(files)}
# Other control-plane nodes get these files from `kubeadm init --upload-certs`.
{_KUBERNETES_COMMENTS}
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
etcd:
  external:
    endpoints:
{endpoints}
    caFile: {there.ca}
    certFile: {there.cert}
    keyFile: {there.key}
# kubeadm accepts few flags together with --config, so other settings have to be here too:
# controlPlaneEndpoint: kubernetes.example.org:6443    # for more than one control-plane node
# kubernetesVersion: v1.35.4
# networking:
#   podSubnet: 10.244.0.0/16
"""


def kube_apiserver_text(spec: Spec, files: ClientFiles, previous: Sequence[str] = ()) -> str:
    """Return the flags of kube-apiserver, one on each line."""
    there = ON_CONTROL_PLANE
    return f"""\
# The flags of kube-apiserver for the cluster {spec.name}.
{previous_comment(previous)}{copy_comments(files)}
{_KUBERNETES_COMMENTS}
--etcd-servers={",".join(endpoints_of(spec, previous))}
--etcd-cafile={there.ca}
--etcd-certfile={there.cert}
--etcd-keyfile={there.key}
"""


def env_text(spec: Spec, files: ClientFiles, previous: Sequence[str] = ()) -> str:
    """Return etcdctl variables for a shell on this machine. The machine must reach the client ports directly."""
    variables = etcdctl_variables(",".join(endpoints_of(spec, previous)), files)
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return f"""\
# etcdctl for the cluster {spec.name}, as its administrator: eval "$(etcdup export env)"
# If this machine reaches the members only over SSH, use `etcdup ctl -- ARGS`.
{previous_comment(previous)}{lines}
"""


def etcdctl_variables(endpoints: str, files: ClientFiles) -> dict[str, str]:
    """Return the environment of etcdctl for a cluster.

    ETCDCTL_API is left out: 3 is the default from etcd 3.4 on, and etcdctl 3.6 warns about the unknown variable.
    """
    return {
        "ETCDCTL_ENDPOINTS": endpoints,
        "ETCDCTL_CACERT": files.ca,
        "ETCDCTL_CERT": files.cert,
        "ETCDCTL_KEY": files.key,
    }


def copy_comments(
    files: ClientFiles,
    there: ClientFiles = ON_CONTROL_PLANE,
    where: str = "every control-plane node",
    owner: str = "root",
) -> str:
    """Return comments with the target path of each file, and commands that give them their owner and mode."""
    pairs = ((files.ca, there.ca), (files.cert, there.cert), (files.key, there.key))
    width = max(len(here) for here, _ in pairs)
    lines = [f"#   {here:{width}}  ->  {to}" for here, to in pairs]
    heading = f"# First copy these files to {where}. Only the user {owner} may read the key:"
    return "\n".join([heading, *lines, *_install_comments(files, there, owner)])


def _install_comments(files: ClientFiles, there: ClientFiles, owner: str) -> list[str]:
    """Return the commands for the folder with the copied files. A key that is not on this machine is left out."""
    sent = ((files.ca, there.ca, "644"), (files.cert, there.cert, "644"), (files.key, there.key, "600"))
    return ["# There, as root, in the folder with the copies:"] + [
        f"#   install -D -o {owner} -m {mode} {shlex.quote(PurePosixPath(here).name)} {to}"
        for here, to, mode in sent
        if PurePosixPath(here).is_absolute()
    ]
