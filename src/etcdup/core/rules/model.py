"""A rule of operating etcd, a finding's explanation, and the addresses that their sources share."""

from dataclasses import dataclass

DOCS = "https://etcd.io/docs/v3.6/"
BLOG = "https://etcd.io/blog/"
CODE = "https://github.com/etcd-io/etcd/blob/main/"
CHANGES = f"{CODE}CHANGELOG/CHANGELOG-"
ISSUE = "https://github.com/etcd-io/etcd/issues/"
PULL = "https://github.com/etcd-io/etcd/pull/"
KUBERNETES = "https://kubernetes.io/docs/"
KUBEADM = "https://github.com/kubernetes/kubernetes/blob/master/cmd/kubeadm/app/phases/etcd/local.go"
CIS = "https://github.com/aquasecurity/kube-bench/blob/main/cfg/cis-1.9/etcd.yaml"
SYSTEMD = "https://www.freedesktop.org/software/systemd/man/latest/"
TESTED = "tested on real etcd:"


@dataclass(frozen=True)
class Rule:
    """One rule. `source` has one or more addresses or tests, separated by `; `."""

    number: int
    title: str
    says: str
    why: str
    source: str


@dataclass(frozen=True)
class Code:
    """What a finding of `etcdup check` means. `rules` are the rules that it violates.

    `cis` is the control of the CIS Kubernetes Benchmark. `rules` is empty if each finding has rules of its own.
    """

    code: str
    title: str
    means: str
    why: str
    do: str
    rules: tuple[int, ...] = ()
    cis: str = ""
