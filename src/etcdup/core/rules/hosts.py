"""Rules for disks, operating systems and networks."""

from etcdup.core.rules.model import CODE, DOCS, SYSTEMD, TESTED, Rule

HOSTS = (
    Rule(
        91,
        "Measure the disk before etcd uses it",
        "Measure sequential writes of 2300 bytes with fdatasync, on the file system of the data directory. "
        "99 of 100 must take less than 10 ms; above 25 to 100 ms, refuse the disk. "
        "Never measure on the disk of a running member under load.",
        "etcd acknowledges a write only after the disks of a quorum have it. "
        "A slow disk delays heartbeats and causes elections.",
        f"{DOCS}op-guide/hardware/",
    ),
    Rule(
        92,
        "Use a local disk with ext4 or xfs",
        "Use a local SSD, if possible one for etcd only. Use no NFS, overlay or tmpfs. "
        "If the log has its own directory (`wal-dir`), include it in each backup, removal and check.",
        "A network file system is slow and can confirm a write that it has not stored. "
        "tmpfs is empty after a reboot.",
        f"{DOCS}op-guide/hardware/",
    ),
    Rule(
        93,
        "Give a member enough CPU, memory and disk space",
        "Use 2 to 4 cores and typically 8 GB of memory, without swap. "
        "Keep 2.5 times the quota free, and 320 MB for the log. "
        "A memory limit must be above twice the size of the database.",
        "A member that is swapped out misses heartbeats. A member that cannot write its log stops.",
        f"{DOCS}op-guide/hardware/",
    ),
    Rule(
        94,
        "Synchronise the clocks",
        "Synchronise the clock of each host. "
        "Let certificates begin at least 5 minutes in the past. "
        "Compare the clock of each host with your own before you issue one.",
        "With a wrong clock, a host can reject a valid certificate. "
        "etcd logs a warning if the clocks of two members differ by more than 1 s.",
        f"{DOCS}op-guide/security/; {CODE}server/etcdserver/api/rafthttp/probing_status.go",
    ),
    Rule(
        95,
        "Check each link in both directions before the start",
        "The ports 2379, 2380 and 2381 must be free. "
        "Do a TLS handshake from each host to each peer. "
        "The round-trip time must be below 10 ms; otherwise set longer timeouts.",
        "A firewall can block one direction only. Such a link seems healthy until the leader changes.",
        f"{DOCS}op-guide/hardware/; {DOCS}tuning/",
    ),
    Rule(
        96,
        "Prepare hosts that are alike and empty",
        "Each host has its own host name and machine ID, no old `member` directory and no other etcd unit. "
        "Use IP addresses, so that a start does not depend on DNS. "
        "On Debian, mask `etcd.service` before you install the package.",
        "Cloned hosts have the same identity. The package of Debian starts a cluster of one by itself.",
        f"{SYSTEMD}machine-id.html; {TESTED} the package etcd-server of Debian",
    ),
    Rule(
        97,
        "Distribute members over failure domains",
        "Do not put two members on one hypervisor, rack or zone. "
        "No zone may have so many members that its failure loses the quorum.",
        "One failure must not stop more than one member.",
        f"{DOCS}faq/",
    ),
    Rule(
        98,
        "Run one version on all hosts, for the right architecture",
        "All members run the same version. "
        "etcd supports amd64 and arm64; other architectures may need `ETCD_UNSUPPORTED_ARCH`.",
        "A binary of the wrong architecture does not start.",
        f"{DOCS}op-guide/supported-platform/",
    ),
)
