"""Rules for the first start of a cluster."""

from etcdup.core.rules.model import CODE, DOCS, SYSTEMD, TESTED, Rule

BOOTSTRAP = (
    Rule(
        1,
        "Start the first members without waiting for each one",
        "Start all members of a new cluster in parallel, or with `systemctl start --no-block`. "
        "Set `TimeoutStartSec` to 0 or to a large value, and check the health yourself.",
        "With `Type=notify`, etcd reports that it is ready only after a quorum exists. "
        "A start that waits for the first member alone runs into the timeout, and systemd kills the member.",
        f"{CODE}server/etcdmain/etcd.go; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        2,
        "Start the first member a little earlier than the others",
        "Start one member of a new cluster 100 to 200 ms before the other members.",
        "A new member sends each peer a request: does the cluster already exist? "
        "Members that start in the same millisecond wait for each other for up to 2 s.",
        f"{CODE}server/etcdserver/cluster_util.go; {TESTED} 3.4.23, 3.5.30",
    ),
    Rule(
        3,
        "Allow 30 to 60 seconds for a cold start",
        "On a fast disk, a new cluster accepts its first write 0.3 to 3.6 s after the start. "
        "Use a timeout of 30 to 60 s, and check every 100 to 250 ms.",
        "The rest of the timeout is for slow disks and slow networks. "
        "A short timeout reports a failure for a start that would succeed.",
        f"{TESTED} cold starts of 3.3.25, 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        4,
        "Use a new token for each cluster and for each restore",
        "Give each cluster its own `initial-cluster-token`. Give each restore a new token too.",
        "etcd computes the cluster ID from the token, the member names and the URLs. "
        "With the same token, an old member can take part in the restored cluster.",
        f"{DOCS}op-guide/clustering/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        5,
        "Write peer URLs the same way everywhere",
        "The URLs in `initial-cluster` must equal `initial-advertise-peer-urls` byte for byte. "
        "Each member has a name of its own. Use either IP addresses or DNS names, not both.",
        "A member compares its own peer URLs with the list before its first start. If they differ, it stops.",
        f"{DOCS}op-guide/clustering/",
    ),
    Rule(
        6,
        "Repeat a failed bootstrap from the beginning",
        "If a bootstrap fails before the cluster was healthy once, empty all data directories and take a new token. "
        "Empty only directories that this run created. "
        "Do not start a bootstrap on a host whose data directory is not empty.",
        "A cluster that was formed in part costs more to repair than a new one. "
        "A directory that another program filled can contain the only copy of its data.",
        f"{DOCS}op-guide/failures/",
    ),
    Rule(
        7,
        "Set the initial cluster state to existing after bootstrap",
        "etcd ignores the `initial-cluster` settings as soon as `member/wal` exists. "
        "After bootstrap, set `initial-cluster-state` to `existing` in the configuration.",
        "If a majority of members is wiped and has the state `new`, they form a second, empty cluster. "
        "With `existing`, a wiped member stops with an error instead.",
        f"{DOCS}op-guide/clustering/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        8,
        "Use 3 or 5 members",
        "Use an odd number of members: 3 or 5, and at most 7. Do not run a cluster of 2 members permanently. "
        "Use 1 member only if you accept that no failure is tolerated.",
        "A cluster of 2 members accepts no write after one member fails.",
        f"{DOCS}faq/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        9,
        "Do not use a discovery service",
        "List all members in the configuration. Use neither the public discovery service nor v2 discovery.",
        "A discovery service is one more part that must be available when the cluster is formed. "
        "v2 discovery is deprecated in etcd 3.6 and removed in 3.7.",
        f"{DOCS}op-guide/runtime-reconf-design/",
    ),
    Rule(
        10,
        "Configure etcd in one place",
        "With `--config-file`, etcd ignores all other flags and all `ETCD_*` variables. "
        "Configure a unit with one file, or with flags and variables, but not with both.",
        "A setting in the ignored place has no effect.",
        f"{DOCS}op-guide/configuration/",
    ),
    Rule(
        11,
        "Prove health with a write and a read through each member",
        "A cluster is ready when each member serves a write and a linearizable read. "
        "All members must report the same started members, the same cluster ID and the same leader.",
        "An open port or an active unit does not prove that the member belongs to a quorum.",
        f"{DOCS}learning/api_guarantees/",
    ),
    Rule(
        115,
        "A start job can wait in the queue of systemd",
        "`systemctl start --no-block` only queues a start job. "
        "A unit with `After=network-online.target` waits for that target. "
        "An inactive unit with a waiting job has not failed.",
        "With systemd-networkd and IPv6 without a router, the target is reached about 14 s after boot. "
        "With an unused second network card it takes two minutes.",
        f"{SYSTEMD}systemctl.html; {TESTED} a machine that booted seconds ago",
    ),
)
