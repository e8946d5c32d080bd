"""Codes of the causes that `status`, `health`, `plan`, `apply` and `check` report in the same way."""

from etcdup.core.rules.model import Code

CAUSE_CODES = (
    Code(
        "pki-of-other-cluster",
        "The PKI directory is not that of this cluster",
        "The hosts have certificates of a CA that the PKI directory on this machine does not have. Often the directory "
        "is missing on this machine.",
        "etcdup cannot connect to a member without it. A second CA would make the members reject each other.",
        "Check that this is the cluster.yaml of these hosts. Move the PKI directory to another directory, if there is "
        "one. Copy it from the machine that changed the cluster last, or get it from a backup with `etcdup backup pki "
        "--identity FILE`. If the certificates were provided, write `mode: provided` and its files back.",
        (15, 20),
    ),
    Code(
        "ca-changed-on-host",
        "The CA file of one host was changed there",
        "A host trusts a CA that the PKI directory never had. Other hosts trust the CA of that directory, and the host "
        "has no later change of it.",
        "At its next start, the member rejects the other members and all clients.",
        "Rename the file on that host, and run `etcdup apply`, which writes it again.",
        (15, 20),
    ),
    Code(
        "pki-outdated",
        "The PKI directory is an older copy",
        "Hosts have certificates of a change that is not in this copy of the PKI directory.",
        "Changes with an older copy would bring back certificates that were replaced.",
        "Move the directory to another one. Copy the PKI directory from the machine that changed the cluster last.",
        (20,),
    ),
    Code(
        "host-of-other-member",
        "A host belongs to another member or cluster",
        "The marker on the host names another cluster or another member than cluster.yaml.",
        "A cluster and its members keep their names. Usually the name was changed in cluster.yaml.",
        "Write the line back that the hint names. Otherwise use another host.",
        (6,),
    ),
    Code(
        "marker-missing",
        "The marker of a member is missing",
        "/etc/etcd/etcdup.json was deleted on a host with the unit and the data of a member of this cluster.",
        "Without its marker, etcdup treats the data as that of another etcd, and changes nothing on the host.",
        "Copy the file from another host of the cluster, and write the name of this host as `member` in the copy.",
        (6,),
    ),
    Code(
        "data-elsewhere",
        "The data of a member is in another directory",
        "cluster.yaml has another `data_dir` or `wal_dir` than the member.",
        "etcdup does not move the data of a member. A member that starts without its data loses acknowledged writes.",
        "Write the line back that the hint names.",
        (32, 89),
    ),
    Code(
        "data-of-other-host",
        "A member has the data of another host",
        "The data directories of two hosts were exchanged, or one was copied. etcd takes its member ID from its data, "
        "and the other members connect to the peer URL that the member list has for this ID.",
        "Exchanged members have no connection to each other. Each can still follow a leader, so that the cluster looks "
        "healthy and has no quorum when another member fails. A copy can vote twice.",
        "Run the commands of the finding: they change the peer URLs in the member list, and move no data. A host with "
        "a copy gets a new member by `etcdup member replace NAME`.",
        (5, 36),
    ),
    Code(
        "take-over-waits",
        "Hosts wait for their take-over",
        "`etcdup adopt` wrote its marker on these hosts. Another tool installed their etcd, and still starts it.",
        "etcdup observes and backs up such a cluster, adds members and replaces lost ones. It does not restart "
        "members, change their settings or their certificates.",
        "Run `etcdup adopt --take-over`, which converts one member after the other. `etcdup adopt --release` removes "
        "the markers.",
    ),
    Code(
        "restore-unfinished",
        "A restore, recovery or undo is not finished",
        "A marker says that the data of the cluster is being exchanged.",
        "Members of the old and of the new cluster can exist at the same time, so no other change is permitted.",
        "The finding says which data the members have, and which command resumes. If no member has stopped, `etcdup "
        "restore --undo` cancels the restore. Later it puts the old data back.",
        (57,),
    ),
    Code(
        "clusters-mixed",
        "The hosts belong to different clusters",
        "The members report different cluster IDs, or the markers have the tokens of different clusters.",
        "A change could destroy the data that clients use.",
        "Find the cluster that the clients use. Then, on the other hosts, stop etcd and rename its directories.",
        (4, 65),
    ),
    Code(
        "host-superseded",
        "A host has data of the cluster before a restore",
        "The cluster was restored or recovered without the host, which still has the data of the old cluster.",
        "Two such members of three could form the old cluster again. The startup fence keeps them stopped.",
        "Run `etcdup apply`: it archives the data, and adds the host as a new member.",
        (57, 65),
    ),
    Code(
        "certificate-not-valid",
        "Certificates have expired or are not valid yet",
        "By the clock of this machine, certificates of members or of etcdup are not valid now.",
        "No new connection with them succeeds. Open connections continue and hide this.",
        "Run `etcdup certs renew`. It restarts no member. With `tls: {mode: provided}`, replace the files and run "
        "`etcdup apply`.",
        (17,),
    ),
    Code(
        "disk-full",
        "The disk of a member is full",
        "The file system of the data directory or of the log has less than 64 MiB of free space.",
        "etcd cannot create its next log file and exits.",
        "Free disk space on the host, and delete no file in the data directory. Then run `etcdup apply`.",
        (93,),
    ),
    Code(
        "disk-not-mounted",
        "The disk of a member is not mounted",
        "The data directory was a mount point when the member was proved healthy, and is none now.",
        "etcd would start without its data.",
        "Mount the disk, then run `etcdup apply`. If the disk is dead, mount a new empty disk there, then run `etcdup "
        "member replace NAME`.",
        (32, 89),
    ),
    Code(
        "data-lost",
        "A member has no data",
        "The data directory of a member of the cluster contains no member.",
        "A member that starts without its data has forgotten votes and writes.",
        "Mount the disk if it is not mounted. If the data is lost, run `etcdup member replace NAME`.",
        (32, 89),
    ),
    Code(
        "etcd-fails",
        "etcd exits again and again",
        "etcd exited with an error since its last start. The finding has the reason that its log has.",
        "The cluster can lose fewer members without losing the quorum.",
        "Do what the hint names, then run `etcdup apply`.",
        (11,),
    ),
    Code(
        "etcd-starting",
        "etcd is starting",
        "systemd starts etcd or waits for other units before that, and etcd is not ready yet.",
        "A member that starts reads its data first, and does not answer before it follows a leader.",
        "Wait a minute, then run the same command again.",
        (11,),
    ),
    Code(
        "member-error",
        "A member reports an error",
        "The status of the member contains an error.",
        "A member with an error does not count as healthy.",
        "Run `etcdup logs NAME` to find the cause.",
        (11,),
    ),
    Code(
        "cluster-locked",
        "Another etcdup changes the cluster",
        "Another run of etcdup holds the lock of the cluster. The finding names its user, machine and command.",
        "What etcdup reports changes while the other run works.",
        "Wait until it ends, then run the same command again.",
        (34,),
    ),
    Code(
        "cluster-not-formed",
        "The cluster is not formed yet",
        "No host has a member of this cluster, or an earlier apply did not finish.",
        "There is no cluster that clients can use.",
        "Run `etcdup apply`. If the cluster had data and its hosts were installed again, run `etcdup restore latest`.",
        (6,),
    ),
    Code(
        "rotation-unfinished",
        "A CA rotation is in progress",
        "The members trust two CAs, or are dropping the old one.",
        "Until the rotation is complete, certificates of both CAs are accepted.",
        "Run the command that the hint names.",
        (15,),
    ),
    Code(
        "versions-mixed",
        "The members run different versions",
        "A change of version was started and is not finished.",
        "etcd supports two minors at once only for the time of an upgrade.",
        "Run `etcdup apply`. The finding says until when the previous `version` in cluster.yaml brings all members "
        "back.",
        (46,),
    ),
    Code(
        "programs-missing",
        "The programs of a running member are missing",
        "The directory of the version that runs, in /opt/etcd, has no program etcd. It was deleted.",
        "The process continues, but the member cannot start again, for example after a reboot of its host.",
        "Run `etcdup apply`. It installs the version again, and restarts no member for that.",
        (52,),
    ),
    Code(
        "files-differ",
        "Files on a host differ from cluster.yaml",
        "etcd.conf or the unit on a host is not the file that cluster.yaml requires. The file on the host, or "
        "cluster.yaml, was edited.",
        "A member gets the files on its host at its next start.",
        "Run `etcdup plan` to see each difference. `etcdup apply` writes the files again.",
        (40,),
    ),
    Code(
        "restart-waits",
        "Settings wait for a restart",
        "The process of a member has other settings or another version than cluster.yaml.",
        "etcd reads its settings only when it starts.",
        "Run `etcdup apply`. It restarts one member after the other.",
        (38,),
    ),
)
