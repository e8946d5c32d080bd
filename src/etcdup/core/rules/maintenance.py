"""Rules for the quota, compaction, defragmentation and alarms."""

from etcdup.core.rules.model import CHANGES, DOCS, TESTED, Rule

MAINTENANCE = (
    Rule(
        70,
        "Clear a NOSPACE alarm in the right order",
        "Reduce writes, compact to the current revision with `--physical`, and defragment one member after the other. "
        "Or raise the quota, and restart one member after the other. "
        "When the database of each member is below the quota of its process, run `etcdctl alarm disarm`, test a write, "
        "and check that no alarm is left.",
        "A restart, a compaction or a defragmentation alone does not clear the alarm. "
        "Each member raises its own alarm, and etcd raises it again if the space was not freed.",
        f"{DOCS}op-guide/maintenance/; {TESTED} 3.4.23 with a quota of 16 MiB",
    ),
    Rule(
        71,
        "Do not use the health endpoint as a condition during NOSPACE",
        "Use `/health?exclude=NOSPACE` instead. Never restart etcd because of this alarm. "
        "`/livez` and `/readyz` exist from 3.4.29, 3.5.11 and 3.6 on.",
        "While the alarm is on, `/health` returns 503, but the member works and is needed for the repair.",
        f"{TESTED} 3.4.23; {CHANGES}3.5.md",
    ),
    Rule(
        72,
        "A write with an error can still have been applied",
        "After a timeout or `database space exceeded`, read the key before you write again.",
        "etcd can apply a request although the client receives an error.",
        f"{DOCS}op-guide/maintenance/",
    ),
    Rule(
        73,
        "A defragmentation blocks its member",
        "Expect 10 to 20 ms for each MiB of the database. "
        "Clients of this member wait; clients of the other members hardly notice it.",
        "The member rebuilds its database file and serves no request meanwhile.",
        f"{DOCS}op-guide/maintenance/; {TESTED} a database of 220 MiB",
    ),
    Rule(
        74,
        "Give a defragmentation enough time",
        "Set `--command-timeout` to 10 minutes or more. Do not repeat the command without a check.",
        "The default timeout of etcdctl is 5 s. "
        "After it, etcdctl reports a failure, but the member continues the defragmentation.",
        f"{TESTED} etcdctl with a large database",
    ),
    Rule(
        75,
        "Defragment followers first, one at a time",
        "Move the leadership away before you defragment the leader. Never use `defrag --cluster`. "
        "Defragment only if more than 40 % and 100 MB of the file are free, and never during another change.",
        "Before 3.4.38, 3.5.23 and 3.6.5, a defragmentation during a snapshot from the leader can damage the data. "
        "The member must therefore be in sync.",
        f"{CHANGES}3.4.md; {CHANGES}3.5.md; {CHANGES}3.6.md",
    ),
    Rule(
        76,
        "Make sure that the history is compacted",
        "With Kubernetes, kube-apiserver compacts every 5 minutes. "
        "Otherwise set `auto-compaction-mode` to `periodic` with a retention of 1 to 8 hours.",
        "etcd does not compact by default. The database then grows until it reaches the quota.",
        f"{DOCS}op-guide/maintenance/",
    ),
    Rule(
        77,
        "Set the quota explicitly and keep enough disk space",
        "Set `quota-backend-bytes` to the same value on all members. The default is 2 GiB; use 8 GiB at most. "
        "Keep 2.5 times the quota free on the disk.",
        "A defragmentation copies the database, and a snapshot from the leader needs space too. "
        "The first member that reaches its quota stops all writes.",
        f"{DOCS}op-guide/maintenance/",
    ),
    Rule(
        78,
        "Set the snapshot count to 10000",
        "Set `snapshot-count` to 10000, the default of 3.6. The default of 3.4 and 3.5 is 100000.",
        "A smaller count needs less memory. It also makes the corruption check at start effective earlier.",
        f"{DOCS}upgrades/upgrade_3_6/; {TESTED} corruption checks of 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        79,
        "Defragment offline only on a masked unit",
        "Stop and mask the unit before `etcdutl defrag --data-dir`.",
        "etcd must not start on a file that the tool is rewriting.",
        f"{DOCS}op-guide/maintenance/",
    ),
)
