"""Rules for etcd as the store of Kubernetes, and for monitoring."""

from etcdup.core.rules.model import CODE, DOCS, KUBEADM, KUBERNETES, TESTED, Rule

_API_SERVER = f"{KUBERNETES}reference/command-line-tools-reference/kube-apiserver/"

KUBERNETES_RULES = (
    Rule(
        99,
        "Keep the endpoint list of kube-apiserver current",
        "`--etcd-servers` lists all members with https, and kube-apiserver has a client certificate of its own. "
        "Add an endpoint after the promotion, remove it before the removal, and restart one API server at a time.",
        "A kube-apiserver with removed or learner endpoints has failed requests.",
        _API_SERVER,
    ),
    Rule(
        100,
        "Use an etcd version that Kubernetes recommends",
        "The documentation of Kubernetes recommends at least 3.4.29 or 3.5.11. "
        "Kubespray uses 3.5 for Kubernetes 1.34, and 3.6 for 1.35 and 1.36.",
        "Older releases have faults that affect Kubernetes.",
        f"{KUBERNETES}tasks/administer-cluster/configure-upgrade-etcd/; https://github.com/kubernetes-sigs/kubespray",
    ),
    Rule(
        101,
        "Use the etcd settings of kubeadm",
        "Set the initial corruption check, a snapshot count of 10000 and a watch progress interval of 5 s. "
        "Serve metrics on 127.0.0.1:2381. Use `/livez` and `/readyz` for probes, not `/health`.",
        "kube-apiserver needs progress notices of watches. "
        "A liveness probe with `/health` restarts members that only have no quorum.",
        KUBEADM,
    ),
    Rule(
        102,
        "A second cluster for events is optional",
        "`--etcd-servers-overrides` of kube-apiserver can store events in a cluster of their own.",
        "Events are many writes of low value. In a separate cluster they do not delay other writes.",
        _API_SERVER,
    ),
    Rule(
        103,
        "Encrypt secrets in kube-apiserver",
        "Configure encryption at rest in kube-apiserver. etcd does not encrypt its data.",
        "Without it, each snapshot contains the secrets as plain text.",
        f"{KUBERNETES}tasks/administer-cluster/encrypt-data/",
    ),
    Rule(
        104,
        "Restore the store of Kubernetes with a higher revision",
        "Restore with `--bump-revision` and `--mark-compacted`: each kube-apiserver then reads all keys again. "
        "If etcd is older than 3.4.27 or 3.5.10, stop each kube-apiserver and restart each program that uses watches.",
        "Otherwise controllers work with data from after the snapshot, which no longer exists.",
        f"{DOCS}op-guide/recovery/",
    ),
    Rule(
        105,
        "Use the file names of kubeadm for external etcd",
        "kubeadm reads `/etc/kubernetes/pki/apiserver-etcd-client.crt`, its key, "
        "and `/etc/kubernetes/pki/etcd/ca.crt`.",
        "With the files at these paths, no path must be changed by hand.",
        f"{KUBERNETES}setup/production-environment/tools/kubeadm/high-availability/",
    ),
)

MONITORING = (
    Rule(
        106,
        "Use the alerts of the etcd mixin",
        "It has alerts for missing members, no leader, 4 or more leader changes in 15 minutes and failed requests. "
        "It also has alerts for slow disks, slow peers, failed proposals, a full quota and fragmentation.",
        "Many leader changes or slow disks are visible long before the cluster fails.",
        f"{CODE}contrib/mixin/alerts/alerts.libsonnet",
    ),
    Rule(
        107,
        "Monitor what the mixin does not cover",
        "Check alarms, the expiry of served certificates, hashes of the data, old learners and unstarted members. "
        "Also check the member count, mixed versions, the age of backups and clocks. "
        "Also check the applied index, and a database above 80 % of its quota.",
        "The mixin has no alert for them. Each of them can lead to an outage or to lost data.",
        f"{CODE}contrib/mixin/alerts/alerts.libsonnet",
    ),
    Rule(
        108,
        "The health endpoint does not prove everything",
        "`/health` is a read with quorum. Check client TLS, peer TLS in both directions, certificates and equal data "
        "separately.",
        "Open connections hide bad certificates, and each member serves its own data. "
        "On 3.4.23, `etcdctl endpoint health` exits with 0 during a NOSPACE alarm.",
        f"{TESTED} 3.4.23",
    ),
    Rule(
        109,
        "Collect metrics without a client certificate",
        "Read metrics from `listen-metrics-urls`, not from port 2379.",
        "Port 2379 requires a client certificate, and that certificate gives access to all keys.",
        f"{DOCS}op-guide/monitoring/",
    ),
)
