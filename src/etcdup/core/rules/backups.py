"""Rules for snapshots, backups and restores."""

from etcdup.core.rules.model import CHANGES, DOCS, KUBERNETES, TESTED, Rule

BACKUPS = (
    Rule(
        53,
        "Take a snapshot from exactly one healthy member",
        "Give `etcdctl snapshot save` one endpoint. Prefer a follower, and check its applied index first. "
        "Encrypt the file.",
        "With several endpoints, the command fails. A follower can be behind the leader, and the file contains all "
        "secrets.",
        f"{DOCS}op-guide/recovery/; {TESTED} `snapshot save` with 3 endpoints",
    ),
    Rule(
        54,
        "Verify a snapshot by its checksum and a trial restore",
        "The file size modulo 512 is 32, because a SHA-256 checksum follows the database. "
        "Compare this checksum, store a checksum of your own, and restore the file into a scratch directory.",
        "`snapshot status` does not compare the checksum: it found none of 12 changed bytes. A restore found all.",
        f"{DOCS}op-guide/recovery/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        55,
        "A copy of the database file is not a full backup",
        "Use a copy of `member/snap/db` only if nothing better exists. Its restore needs `--skip-hash-check`.",
        "The copy has no checksum. Writes that are only in the log are missing from it.",
        f"{DOCS}op-guide/recovery/; {TESTED} a restore of a copied file",
    ),
    Rule(
        56,
        "Restore into an empty directory and keep the old data",
        "Rename the old data directory with a timestamp, and delete it only when no undo needs it. "
        "Restore all members from the same file and with the same new token. Each has its own name and URL.",
        "A restore refuses a directory that is not empty. Different files would give members with different data.",
        f"{DOCS}op-guide/recovery/; {TESTED} a restore into a directory with files",
    ),
    Rule(
        57,
        "Stop every old member before a restored one starts",
        "Check that each old member is stopped. Only then start the restored members.",
        "Old members with the same cluster ID communicate with the restored members. "
        "Clients can also write to the old cluster.",
        f"{DOCS}op-guide/clustering/",
    ),
    Rule(
        58,
        "Raise the revision in a restore",
        "If clients use watches, restore with `--bump-revision 1000000000 --mark-compacted`. "
        "The options exist from 3.4.27 and 3.5.10 on. Without them, restart clients with watches after the restore.",
        "Otherwise the revision goes back. Watches then miss events, and local caches stay wrong.",
        f"{DOCS}op-guide/recovery/; {CHANGES}3.5.md; {TESTED} 3.5.16, 3.5.30",
    ),
    Rule(
        59,
        "Use the restore tool of the version",
        "Use `etcdctl` for 3.4, and `etcdutl` for 3.5 and newer. Prefer `etcdutl` 3.5.26 or newer.",
        "3.6 has no `etcdctl snapshot restore`. `etcdctl` of 3.4 leaves old members in the restored data.",
        f"{CHANGES}3.6.md; {TESTED} restores between 3.4.23, 3.5.16 and 3.5.30",
    ),
    Rule(
        60,
        "A restore of a small database takes less than a second",
        "With a database of 0.6 MB, the restore of 3 members takes up to 0.5 s. "
        "All members are healthy up to 0.8 s after their start.",
        "A restore that takes much longer shows a slow disk or a fault.",
        f"{TESTED} restores of 3 members",
    ),
    Rule(
        61,
        "Take backups on a schedule and before each change",
        "Keep several backups on another machine, and test their restore regularly. "
        "Back up the certificates and keys and the state of the tool too.",
        "A snapshot contains the keys and the users of etcd, but not the member list.",
        f"{DOCS}op-guide/maintenance/",
    ),
    Rule(
        112,
        "A lease in a snapshot is an old claim",
        "A lease belongs to a process that ran when the snapshot was taken. "
        "Revoke the leases of a restored cluster before clients connect.",
        "A restore with leases can give one lock to two processes. "
        "In a test with Patroni, two primaries ran, and PostgreSQL lost acknowledged transactions.",
        f"{TESTED} restores under Patroni",
    ),
)

QUORUM_LOSS = (
    Rule(
        62,
        "Check first: no quorum, or no connection from here",
        "An unreachable host is not always a stopped host. "
        "If the quorum is lost, first take a snapshot from each member that answers, and copy its data directory. "
        "Use the data with the highest raft term and applied index.",
        "Without a quorum, writes fail after 7 s and members cannot be removed. "
        "Serializable reads and snapshots still work.",
        f"{DOCS}op-guide/failures/; {TESTED} 2 of 3 members stopped",
    ),
    Rule(
        63,
        "Prefer a restore to force-new-cluster",
        "Rebuild the cluster from a snapshot with a new token. Do not use `--force-new-cluster` on a member.",
        "The documentation of etcd strongly discourages `--force-new-cluster`.",
        f"{DOCS}op-guide/recovery/",
    ),
    Rule(
        64,
        "force-new-cluster keeps the cluster ID",
        "After `--force-new-cluster`, data, revision and cluster ID are the same as before. "
        "Old members that return while the survivor is reachable are removed.",
        "By the cluster ID, old members cannot be distinguished from members of the new cluster.",
        f"{TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        65,
        "Fence every old member before the cluster is rebuilt",
        "Switch each other old host off, mask its unit, or rename its data directory, and prove it. "
        "If a host is only unreachable, the operator must confirm by its name that it is off.",
        "Two old members of three are a quorum of the old cluster. "
        "If they return, they accept writes next to the new cluster, and these writes are lost later.",
        f"{TESTED} split brain with 3.4.23 and 3.5.30",
    ),
    Rule(
        66,
        "Use force-new-cluster for one start only",
        "Remove the flag directly after the start, and restart without it. "
        "Use a release from 3.5.25 (series 3.5) or 3.6.6 on.",
        "Older releases can keep other members or learners in the list. "
        "A flag that stays in the configuration acts again at the next restart.",
        f"{CHANGES}3.5.md; {CHANGES}3.6.md",
    ),
    Rule(
        67,
        "Let the rebuilt cluster grow by learners",
        "After a recovery to 1 member, add the other members one at a time as learners and promote them.",
        "A learner cannot take the quorum from the one member that has the data.",
        f"{DOCS}learning/design-learner/; {TESTED} 0.2 to 0.75 s for each member with little data",
    ),
    Rule(
        68,
        "First try what costs no data",
        "Before a rebuild, start stopped members, renew expired certificates, free disk space and correct clocks.",
        "A stopped voter with its data is the best recovery: nothing is lost.",
        f"{DOCS}op-guide/failures/",
    ),
    Rule(
        69,
        "Stop the API servers before a restore",
        "Before the restore, stop each kube-apiserver. After it, restart kube-apiserver, kube-scheduler, "
        "kube-controller-manager and kubelet.",
        "These programs keep copies of old data, and would write by it.",
        f"{KUBERNETES}tasks/administer-cluster/configure-upgrade-etcd/",
    ),
    Rule(
        119,
        "Remove the leases of a snapshot before clients connect",
        "After a restore, start the members without clients, revoke each lease, and only then open the client port.",
        "A lease in a snapshot is a claim of a process at that time. Patroni then has two primaries and loses "
        "transactions.",
        f"{DOCS}learning/api/#lease-api; {TESTED} Patroni 4.1.5 with 3.5.33 and 3.7.1",
    ),
)
