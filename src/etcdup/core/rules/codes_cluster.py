"""Codes of findings about the cluster, its members, their data, links and versions."""

from etcdup.core.rules.model import Code

CLUSTER_CODES = (
    Code(
        "host-unreachable",
        "No SSH connection to a host",
        "etcdup could not connect to this host over SSH, or could not become root on it.",
        "etcdup cannot check or change the host. This does not mean that its member is down.",
        "Check that the machine runs and that SSH accepts your key. Then run `etcdup check` again.",
        (62,),
    ),
    Code(
        "member-list-dissents",
        "A member reports another member list",
        "Most members report the same member list, and this member reports another one.",
        "The member is behind the others, for example because it cannot reach them. A member that was taken over can "
        "also report any list. etcdup uses the list of most members, and connects to no address that only a member "
        "reports.",
        "Run `etcdup check` again. If the list still differs, run `journalctl -u etcd` on the host to see why it does "
        "not follow the other members.",
        (107,),
    ),
    Code(
        "host-not-inspected",
        "The detailed inspection of a host failed",
        "etcdup has a connection to this host, but the commands of the inspection failed.",
        "Settings, disks, clock and ports of this host were not checked.",
        "Run `etcdup check` again. If it fails again, the reason in the finding names the cause.",
    ),
    Code(
        "ports-not-tried",
        "A host has no program to try ports with",
        "This host has no bash, so etcdup could not open TCP connections from it.",
        "A firewall between two hosts then shows only when etcd starts.",
        "Install bash on the host, or try each port by hand.",
        (95,),
    ),
    Code(
        "same-machine-id",
        "Two hosts have the same machine ID",
        "Two or more hosts have the same `/etc/machine-id`. They were probably cloned.",
        "DHCP servers and journals cannot distinguish them.",
        "On all of them except one, run `rm -f /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup`. "
        "Then reboot one host after the other.",
        (96,),
    ),
    Code(
        "same-hostname",
        "Two hosts have the same host name",
        "Two or more hosts have the same host name. They were probably cloned.",
        "Logs and monitoring cannot distinguish them.",
        "Run `hostnamectl set-hostname NAME` on each of them, each time with another name.",
        (96,),
    ),
    Code(
        "key-shared-by-members",
        "Several members use the same private key",
        "Two or more hosts have the same file as their server key or peer key.",
        "An attacker who takes the key from one host can act as each of these members.",
        "Issue a certificate with a key of its own for each member.",
        (20,),
    ),
    Code(
        "link-broken",
        "A TLS connection between two hosts failed",
        "From one host, a TLS handshake with the port of another host failed.",
        "Open connections can hide the fault until the leader changes or a member restarts.",
        "Run `etcdup certs list` and compare both certificates. Check the firewall in this direction.",
        (19, 95),
    ),
    Code(
        "links-not-tried",
        "TLS connections between hosts were not tried",
        "No member answers, or etcdup has no etcdctl or no certificate for the test on these hosts.",
        "An open port does not prove that certificates are accepted in both directions.",
        "Do what the finding names, and run `etcdup check` again.",
        (19, 95),
    ),
    Code(
        "timeouts-too-short",
        "The network is slow for the timeouts of etcd",
        "The largest round-trip time between two hosts is too long for the heartbeat or the election timeout.",
        "Leaders can change without a fault, and each change delays writes.",
        "Set `heartbeat_ms` and `election_ms` to the values in the finding, and run `etcdup apply`.",
        (87,),
    ),
    Code(
        "heartbeat-differs",
        "Members have different heartbeat intervals",
        "The running members have different values of `heartbeat-interval`.",
        "The leader can send heartbeats less often than another member expects them.",
        "Run `etcdup apply`. On a cluster that etcdup did not set up, change one member after the other.",
        (87,),
    ),
    Code(
        "election-differs",
        "Members have different election timeouts",
        "The running members have different values of `election-timeout`.",
        "Some members then start an election while the leader is healthy.",
        "Run `etcdup apply`. On a cluster that etcdup did not set up, change one member after the other.",
        (87,),
    ),
    Code(
        "quota-differs",
        "Members have different quotas",
        "The running members have different values of `quota-backend-bytes`.",
        "The member with the smallest quota stops all writes, although the other members have free space.",
        "Run `etcdup apply`. On a cluster that etcdup did not set up, change one member after the other.",
        (77,),
    ),
    Code(
        "member-silent",
        "A member runs but does not answer",
        "The unit is active, but the member does not answer requests of etcdup.",
        "The member may have no vote in the quorum now.",
        "Run `etcdup logs NAME`. It shows the cause.",
        (11,),
    ),
    Code(
        "no-leader",
        "A member reports no leader",
        "The member answers, but reports that there is no leader.",
        "Without a leader, no write is possible.",
        "Check the other members: a majority of them must run and reach each other.",
        (11,),
    ),
    Code(
        "alarm-raised",
        "etcd has raised an alarm",
        "NOSPACE means that a database has reached its quota. "
        "CORRUPT means that the data of the members differs.",
        "The quorum is not lost. Reads work, and the cluster refuses writes until the alarm is disarmed.",
        "For NOSPACE, run `etcdup maintain fix-space`: it frees space without deleting a key and disarms the alarm, or "
        "says which `quota` helps. For CORRUPT, run `etcdup maintain verify`, and then `etcdup maintain "
        "repair NAME` with the member that differs from the majority: it replaces the member and disarms the alarm.",
        (70, 82),
    ),
    Code(
        "alarm-of-unknown-member",
        "An alarm is of a member that does not exist",
        "The member that raised the alarm is not in the member list. It was removed while the alarm was active.",
        "The alarm stays until it is disarmed. No member can end it.",
        "Run `etcdup maintain fix-space`: it disarms NOSPACE when all databases are smaller than their quota. "
        "For CORRUPT, run `etcdup maintain repair NAME` with any member: it disarms the alarm if all data is the "
        "same.",
        (70, 82),
    ),
    Code(
        "compaction-missing",
        "The history is not compacted",
        "No compaction was done for more than twice the time that `auto_compaction` allows, although clients write.",
        "The history grows until the database reaches its quota, and then the cluster refuses writes.",
        "Run `etcdup ctl -- compaction REVISION` once. If compactions are still missing, check "
        "`auto-compaction-retention` of the running members, and their logs.",
        (76,),
    ),
    Code(
        "access-denied",
        "etcd refuses etcdup",
        "Authentication (`auth`) is enabled, and the client certificate of etcdup is for no user with the role root. "
        "Or the user of `etcd.access` does not work: its password is wrong, or it has no role root.",
        "etcdup cannot change members, take backups or prove a write. The quorum is not lost.",
        "Add the user and grant it the role root, with the commands in the finding. Or set `etcd.access`. Do not "
        "disable authentication for this: each client with a certificate could then read and write all keys.",
        (118,),
    ),
    Code(
        "access-not-used",
        "etcdup does not log in to etcd",
        "cluster.yaml has `etcd.access`, and authentication (`auth`) is not enabled. etcdup uses only its certificate.",
        "Each client with a certificate can read and write all keys, which you may not expect.",
        "Run `etcdup ctl -- auth enable`, which warns of each client that etcd would refuse. Or remove `access`.",
        (118,),
    ),
    Code(
        "gateway-common-name",
        "The certificate of a gateway client has a name",
        "The certificate of this Patroni or APISIX has a common name. An earlier version of etcdup issued it.",
        "With authentication (`auth`) enabled, etcd refuses each request of this client, with a password too.",
        "Run `etcdup certs issue NAME --role ROLE --renew`, and copy the files to the hosts of NAME. "
        "Then set a user and a password in its configuration.",
        (118,),
    ),
    Code(
        "kube-apiserver-without-root",
        "kube-apiserver cannot compact",
        "Authentication (`auth`) is enabled, and the user of kube-apiserver has no role root.",
        "etcd permits a compaction only with this role. Without compactions the database grows until NOSPACE.",
        "Run `etcdup ctl -- user grant-role kube-apiserver root`.",
        (118,),
    ),
    Code(
        "members-differ-from-file",
        "The member list differs from cluster.yaml",
        "A member is missing, unknown, not started, a learner, or has another URL than in cluster.yaml.",
        "Each unfinished change of members can reduce the number of failures that the cluster tolerates.",
        "Run `etcdup plan`. It shows the steps that make the member list equal to cluster.yaml.",
        (107,),
    ),
    Code(
        "hash-not-read",
        "The hash of a member is not available",
        "etcdup could not read the hash of the keys and values of this member.",
        "If members have different data, clients read different values, and no other check shows it.",
        "Run `etcdup check` again. A compaction or a member behind the leader is often the cause.",
        (81,),
    ),
    Code(
        "data-differs",
        "Members have different data",
        "At the same revision, the hashes of the keys and values of the members differ.",
        "Clients read different values, depending on the member that answers.",
        "Run `etcdup maintain repair NAME` with the member that differs from the majority. If several members differ "
        "from it, restore a snapshot of a member of the majority. Without a majority of equal data, restore a backup "
        "from before the fault.",
        (81,),
    ),
    Code(
        "hashes-not-compared",
        "The data of the members could not be compared",
        "Only one member answers, or the members were compacted at different revisions.",
        "If members have different data, clients read different values, and no other check shows it.",
        "Run `etcdup check` again when all members answer.",
        (81,),
    ),
    Code(
        "leader-changes-not-read",
        "The number of leader changes is not available",
        "etcdup could not read the metrics of these members.",
        "Frequent leader changes show slow disks or a slow network.",
        "Run `etcdup check` again. On members that etcdup did not set up, first set `listen-metrics-urls` to "
        "`http://127.0.0.1:2381`.",
        (85, 106),
    ),
    Code(
        "log-prevents-upgrade",
        "etcd 3.7 would not start on these members",
        "The write-ahead log has requests of etcd 3.5 or older after the newest raft snapshot. "
        "etcd reads this part of the log again at each start.",
        "etcd 3.7 panics when it reads these requests.",
        "Use `etcdup apply` for the upgrade to 3.7: it first makes a new raft snapshot on every member. "
        "Without etcdup, write more entries than `snapshot-count` before the upgrade.",
        (111,),
    ),
    Code(
        "log-not-read",
        "The write-ahead log of a member was not read",
        "etcdup could not read the last file of the write-ahead log on this host.",
        "A log with requests of etcd 3.5 prevents the start of etcd 3.7.",
        "Run `etcdup check` again. If it fails again, check the disk of the host.",
        (111,),
    ),
    Code(
        "leader-changes-often",
        "The leader changes often",
        "The leader changed at least four times, and more than once an hour, since the member started.",
        "Each change delays writes for the time of an election.",
        "Check the disks, the round-trip times and the CPU load of the members.",
        (87, 106),
    ),
    Code(
        "version-loses-data",
        "This version of etcd can lose data",
        "The running version, or the version in cluster.yaml, has a known fault that can damage or lose data.",
        "Acknowledged writes can be lost, or members can have different data.",
        "Set `version` in cluster.yaml to the release in the finding, and run `etcdup apply`.",
    ),
    Code(
        "version-known-fault",
        "This version of etcd has a known fault",
        "The running version, or the version in cluster.yaml, has a fault or a security hole that is fixed later.",
        "The finding names the fault and the advisory or changelog.",
        "Set `version` in cluster.yaml to the release in the finding, and run `etcdup apply`.",
    ),
)
