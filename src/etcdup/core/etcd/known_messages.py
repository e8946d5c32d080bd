"""Known log lines of a member that does not start, each with the problem and a hint."""

from typing import NamedTuple


class Meaning(NamedTuple):
    """The problem that a log line reports, and what to do about it. The subject of `problem` is the member's etcd.

    `is_damage`: the data of the member is damaged, so that a new member must replace it.
    """

    problem: str
    hint: str
    is_damage: bool = False


# etcd compares its data with that of its peers before it serves, and ends if one differs. Each peer has its own line.
DIFFERS = "found data inconsistency with peers"
OTHER_HASH = "found different hash values from remote peer"
# The data of a member is loaded and compared before etcd writes this.
SERVES = "ready to serve client requests"
_DAMAGED_DATABASE = Meaning(
    "its database is damaged",
    "run `etcdup maintain repair HOST`: a new member copies the data of the others. If they have no quorum, run "
    "`etcdup recover`",
    is_damage=True,
)


# Parts of log lines of etcd 3.4 to 3.7, of Go's TLS and of systemd. The first that is found in the newest line counts.
# ` ... ` matches any text.
KNOWN_MESSAGES: tuple[tuple[str, Meaning], ...] = (
    (
        "bind: address already in use",
        Meaning(
            "another process uses a port that etcd needs",
            "find it with `ss -tlnp` on the host. If it is another etcd, find out who needs it before you stop it",
        ),
    ),
    (
        "bind: cannot assign requested address",
        Meaning(
            "the host does not have the address that etcd must listen on",
            "set `listen_address` to an address that `ip address` shows on the host",
        ),
    ),
    (
        "certificate has expired",
        Meaning(
            "a certificate has expired, or a clock is wrong",
            "compare `date` on the hosts. If the clocks are right, run `etcdup certs renew`",
        ),
    ),
    (
        "certificate is valid for",
        Meaning(
            "a certificate does not have the address that a peer connects from",
            "run `ip route get PEER_ADDRESS` on the host: the address after `src` must be the one in cluster.yaml",
        ),
    ),
    (
        "does not match any of DNSNames",
        Meaning(
            "etcd rejects a peer, because the peer's certificate does not have the address that it connects from",
            "run `ip route get ADDRESS` on the host of that peer: the address after `src` must be the one in "
            "cluster.yaml",
        ),
    ),
    (
        "certificate signed by unknown authority",
        Meaning(
            "a certificate was signed by a CA that this member does not trust",
            "run `etcdup plan`: it shows which file differs",
        ),
    ),
    (
        "private key does not match public key",
        Meaning("a key and its certificate do not match", "run `etcdup apply`: it writes both again"),
    ),
    (
        "no space left on device",
        Meaning(
            "the disk is full",
            "free disk space on the file system of the data directory. Delete no file in the data directory. Then run "
            "`etcdup apply`",
        ),
    ),
    (
        "has already been bootstrapped",
        Meaning(
            "its data is missing, but it is still in the member list",
            "mount the data disk if it is not mounted. If the data is lost, run `etcdup member replace HOST`. Never "
            "start the member without its data",
        ),
    ),
    (
        "holds no member: is its disk mounted",
        Meaning(
            "the data directory has no data of a member",
            "check with `findmnt` that the data disk is mounted. If the disk is dead, mount a new empty disk there, "
            "then run `etcdup member replace HOST`",
        ),
    ),
    (
        "etcd.conf is empty or incomplete",
        Meaning(
            "its etcd.conf has no settings, or not all of them",
            "run `etcdup apply`, which writes the file again and starts the member",
        ),
    ),
    (
        "Failed to load environment files",
        Meaning(
            "its etcd.conf is missing, or systemd cannot read it",
            "run `etcdup apply`, which writes the file again and starts the member",
        ),
    ),
    (
        "the cluster of its data was superseded",
        Meaning(
            "its data is of a cluster that a restore or a recovery replaced by a new one",
            "make sure that a host of the new cluster is reachable, then run `etcdup apply`: it archives this data "
            "and adds the host to the new cluster",
        ),
    ),
    (
        "crc mismatch",
        Meaning(
            "its write-ahead log is corrupt",
            "if the other members have a quorum, run `etcdup member replace HOST`: they have all committed data. "
            "Otherwise run `etcdup recover`",
            is_damage=True,
        ),
    ),
    (
        "tocommit(",
        Meaning(
            "it lost data that it had acknowledged",
            "run `etcdup member replace HOST`. Never start the member without data under its old member ID",
            is_damage=True,
        ),
    ),
    (
        DIFFERS,
        Meaning(
            "its data differs from that of other members",
            "run `etcdup maintain repair HOST`: it compares the data of the others, and replaces this member if "
            "they are right",
            is_damage=True,
        ),
    ),
    # Of bbolt, and of etcd if the database does not fit its raft snapshot.
    ("failed to open database ... invalid database", _DAMAGED_DATABASE),
    ("failed to get all reachable pages", _DAMAGED_DATABASE),
    ("Page expected to be", _DAMAGED_DATABASE),
    ("failed to recover v3 backend from snapshot", _DAMAGED_DATABASE),
    (
        "the data-dir used by this member must be removed",
        Meaning(
            "it was removed from the member list",
            "run `etcdup apply`: if cluster.yaml has the host, it archives the data and adds a new member there",
        ),
    ),
    (
        "invalid downgrade",
        Meaning(
            "this version of etcd is older than the cluster version",
            "set `version` in cluster.yaml to the minor of the cluster, then run `etcdup apply`",
        ),
    ),
    (
        '\\" is not supported',  # 3.6 writes this if 3.7 wrote the data.
        Meaning(
            "this version of etcd is older than its data",
            "set `version` in cluster.yaml to the minor of the cluster, then run `etcdup apply`",
        ),
    ),
    (
        "detected disallowed v2 WAL",
        Meaning(
            "its write-ahead log has requests of etcd's v2 API, which this version cannot read",
            "set `version` to the newest 3.5 and run `etcdup apply`; then set the new version again: the upgrade "
            "handles the log first",
        ),
    ),
    (
        "cannot parse invalid wire-format data",
        Meaning(
            "its write-ahead log has requests of etcd 3.5 or older, which etcd 3.7 cannot read",
            "set `version` to the newest 3.6 and run `etcdup apply`. Then set the new version again and run `etcdup "
            "apply`: the upgrade makes a new raft snapshot first",
        ),
    ),
    (
        "flag provided but not defined",
        Meaning(
            "this version of etcd does not have one of the settings",
            "correct the flags below `etcd.extra` in cluster.yaml",
        ),
    ),
    (
        "failed to verify flags",
        Meaning(
            "etcd rejects the value of one of the settings",
            "correct this value in cluster.yaml, then run `etcdup apply`",
        ),
    ),
    (
        "unrecognized level",
        Meaning(
            "etcd rejects the value of one of the settings",
            "correct `log-level` below `etcd.extra` in cluster.yaml",
        ),
    ),
    (
        "couldn't find local name",
        Meaning(
            "its own name is not in `initial-cluster`",
            "run `etcdup plan`: it shows the difference in etcd.conf",
        ),
    ),
    (
        "Failed at step EXEC spawning ... Permission denied",
        Meaning(
            "the system forbids systemd to run the start command of etcd",
            "on the host, run `findmnt -T /opt/etcd -o OPTIONS` to see whether the file system is mounted with noexec, "
            "and `ausearch -m avc -ts recent` to see whether SELinux forbids it",
        ),
    ),
    (
        "Failed at step USER",
        Meaning("the user etcd does not exist on the host", "run `etcdup apply`: it makes the user"),
    ),
    (
        "Failed at step LIMITS",
        Meaning(
            "the host does not permit the number of open files that the unit sets",
            "if the host is a container, raise its limit of open files to 65536, then run `etcdup apply`",
        ),
    ),
    *(
        (
            f"{failure} ... {errno}",
            Meaning(
                "systemd may not mount file systems for the unit: the host is a container that forbids it",
                "permit nesting for the container (Proxmox: `pct set ID --features nesting=1`), start it again, then "
                "run `etcdup apply`",
            ),
        )
        for failure in ("Failed at step NAMESPACE", "Failed to set up mount namespacing")
        for errno in ("Permission denied", "Operation not permitted")
    ),
    (
        "permission denied",
        Meaning(
            "it has no permission to read or write one of its files",
            "run `etcdup plan`: it shows the file. `etcdup apply` corrects the owners and modes of what etcdup made",
        ),
    ),
    (
        "Failed to set up mount namespacing",
        Meaning(
            "a directory that the unit needs is missing",
            "check with `findmnt` that all disks of the host are mounted",
        ),
    ),
)
