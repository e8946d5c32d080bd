"""Rules for safe settings and for the detection of damaged data."""

from etcdup.core.rules.model import CIS, CODE, DOCS, KUBEADM, PULL, SYSTEMD, TESTED, Rule

HARDENING = (
    Rule(
        80,
        "Switch the corruption checks on",
        "For 3.5, set `experimental-initial-corrupt-check` and, from 3.5.5 on, "
        "`experimental-compact-hash-check-enabled`. "
        "For 3.6 and newer, set the feature gates `InitialCorruptCheck` and `CompactHashCheck`.",
        "These checks find a member whose data differs from the data of the other members.",
        f"{DOCS}op-guide/data_corruption/; {KUBEADM}",
    ),
    Rule(
        81,
        "Compare the data of all members yourself",
        "Compare `etcdctl endpoint hashkv` of all members at the same revision. "
        "Compare only members that were compacted at the same revision.",
        "The check at start does nothing until the member has a raft snapshot file. "
        "In tests, a member with a changed byte started and served a wrong value.",
        f"{PULL}8554; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        82,
        "A CORRUPT alarm does not name the member",
        "Find the member whose hash differs from the majority, replace it, and then disarm the alarm. "
        "The check needs regular compaction.",
        "While the alarm is on, the cluster refuses all writes. "
        "From 3.4.23 and 3.5.7 on, the alarm has no member ID.",
        f"{DOCS}op-guide/data_corruption/; {TESTED} 3.5.16, 3.5.30",
    ),
    Rule(
        83,
        "Replace a member with a damaged log",
        "If etcd stops with `walpb: crc mismatch`, replace the member.",
        "etcd checks the log at each start and exits with status 1, so a restart does not help.",
        f"{TESTED} 3.5.30",
    ),
    Rule(
        84,
        "Follow section 2 of the CIS benchmark",
        "Set certificate and key for clients and for peers, and require certificates from both. "
        "Use no automatic TLS, and use a CA for etcd only. The data directory has mode 0700 and belongs to etcd:etcd.",
        "Otherwise other users or hosts can read or change the data.",
        CIS,
    ),
    Rule(
        85,
        "Serve each port only where it is needed",
        "Serve clients on the address of the host and on 127.0.0.1, with https, but not on 0.0.0.0. "
        "Serve metrics on `listen-metrics-urls` at loopback or a management address. Set `enable-pprof` to false.",
        "The metrics port has no authentication, and shows the health too. "
        "The debug pages show internal data to each client.",
        f"{DOCS}op-guide/monitoring/; {DOCS}op-guide/security/",
    ),
    Rule(
        86,
        "Refuse settings that can lose data or the quorum",
        "Never configure `unsafe-no-fsync`, `force-new-cluster`, `enable-v2` or `strict-reconfig-check=false`.",
        "The first loses acknowledged writes after a power failure, the second removes all other members. "
        "The third blocks the upgrade to 3.6, the fourth permits changes that lose the quorum.",
        f"{DOCS}op-guide/configuration/; {DOCS}op-guide/runtime-configuration/",
    ),
    Rule(
        87,
        "Set heartbeat and election timeout by the round-trip time",
        "Set `heartbeat-interval` to 0.5 to 1.5 times the largest round-trip time. "
        "Set `election-timeout` to at least 10 times the round-trip time and at most 50 s. "
        "Use the same values on all members, and set `pre-vote` on 3.4.",
        "With timeouts that are too short, leaders change without a fault. "
        "With different values, members start elections while the leader is healthy.",
        f"{DOCS}tuning/",
    ),
    Rule(
        88,
        "Keep the election tick advance on in a LAN",
        "Keep `initial-election-tick-advance` at its default, true. "
        "Set it to false only for long timeouts between distant sites.",
        "With false, a cold start takes 1 to 2.5 s longer.",
        f"{DOCS}op-guide/configuration/; {TESTED} cold starts of 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        89,
        "Harden the systemd unit and require the data mount",
        "Run etcd as its own user with `Type=notify`, restart limits, `LimitNOFILE` of 65536, "
        "`NoNewPrivileges` and `ProtectSystem=strict`. "
        "Add `RequiresMountsFor` and an `ExecStartPre` that fails if the data mount is missing.",
        "With a missing mount, etcd finds an empty directory and starts as a wiped member. "
        "A hardened unit limits what a fault in etcd can reach.",
        f"{SYSTEMD}systemd.exec.html; {SYSTEMD}systemd.unit.html",
    ),
    Rule(
        90,
        "Users of etcd are not necessary with client certificates",
        "If clients need a certificate for access, the users and roles of etcd are optional. "
        "Kubernetes does not use them.",
        "Most security advisories of etcd concern users and roles.",
        "https://github.com/etcd-io/etcd/security/advisories",
    ),
    Rule(
        117,
        "etcd ignores unknown environment variables",
        "Check each `ETCD_*` variable against the installed version.",
        "etcd only logs `unrecognized environment variable`. "
        "A misspelt variable, or one of a removed flag, has no effect.",
        f"{CODE}pkg/flags/flag.go; {TESTED} 3.6.14, 3.7.1",
    ),
    Rule(
        118,
        "Prepare each client before you enable the users of etcd",
        "The common name of a client certificate is a user of etcd, which needs its roles before `auth enable`. "
        "kube-apiserver and etcdup need the role root. "
        "A client of the JSON gateway, such as Patroni or APISIX, needs a certificate without a common name, and a "
        "password.",
        "etcd answers each request to its gateway with 400 if the certificate has a common name. "
        "It permits compactions, changes of members and snapshots only with the role root.",
        f"{CODE}server/embed/serve.go; {TESTED} 3.4.23, 3.5.33, 3.6.14, 3.7.1",
    ),
)
