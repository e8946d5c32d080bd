"""Rules for rolling restarts, upgrades and downgrades."""

from etcdup.core.rules.model import BLOG, CHANGES, CODE, DOCS, TESTED, Rule

VERSIONS = (
    Rule(
        38,
        "Restart followers first and the leader last",
        "Restart one member at a time. Before the next one, all voters must be healthy and the list stable. "
        "The restarted member must serve a linearizable read, and its applied index must be near that of the leader.",
        "Each restart takes one vote away. A restart of the leader costs an election or a transfer of leadership.",
        f"{DOCS}upgrades/upgrade_3_6/",
    ),
    Rule(
        39,
        "A graceful stop transfers leadership",
        "SIGTERM and `systemctl stop` transfer leadership before etcd ends. "
        "An explicit `move-leader` lets you choose the new leader. If it fails, continue the rolling restart.",
        "A leader drops writes that it gets during a transfer, also those that other members forward. "
        "In tests, `move-leader` did not reduce the number of failed requests.",
        f"{TESTED} 10 restarts of the leader on each of 3.4.23, 3.5.33, 3.6.14, 3.7.1 under load",
    ),
    Rule(
        40,
        "Never kill the leader with SIGKILL",
        "Stop etcd with SIGTERM, and set `TimeoutStopSec` to 30 s or more.",
        "After SIGKILL, a new leader exists after 1 to 2 s. "
        "Requests that were in progress can wait for 7 s, the server timeout of etcd.",
        f"{TESTED} SIGKILL of the leader",
    ),
    Rule(
        41,
        "A rolling restart of three members takes some seconds",
        "With a small database, expect 4 to 7.5 s for 3 members.",
        "The graceful stop of a member takes about 1 s, which is the largest part.",
        f"{TESTED} rolling restarts of 3 members",
    ),
    Rule(
        42,
        "Upgrade one minor version at a time",
        "Go from 3.3 to 3.4, then to 3.5, to 3.6 and to 3.7. Refuse an upgrade that skips a minor version.",
        "Upgrades that skip a minor version are not supported, but etcd does not refuse them. "
        "In a test, 3.5.30 replaced 3.3.25 without an error.",
        f"{DOCS}upgrades/upgrading-etcd/; {TESTED} 3.3.25 to 3.5.30",
    ),
    Rule(
        43,
        "Take a snapshot before each minor upgrade",
        "Take a snapshot and verify it. All members must be healthy, run the same version and have no alarm. "
        "The cluster version must equal the current minor version.",
        "After the last member runs the new minor version, the snapshot is the way back.",
        f"{DOCS}upgrades/upgrade_3_6/",
    ),
    Rule(
        44,
        "Run 3.5.32 or newer before the upgrade to 3.6",
        "Restart every member on 3.5.32 or newer and check its health. "
        "Run `etcdutl check v2store` for the data of each member, and remove `enable-v2`. "
        "Builds of a distribution with an older number do not qualify.",
        "Older 3.5 releases store promoted and removed members incorrectly, and 3.6 reads the incorrect list. "
        "Only from 3.5.32 on does `check v2store` also read the log.",
        f"{BLOG}2025/upgrade_from_3.5_to_3.6_issue/; {BLOG}2025/zombie_members_upgrade/; {DOCS}upgrades/upgrade_3_6/",
    ),
    Rule(
        45,
        "Upgrade from 3.4 to 3.5 with etcd users disabled",
        "A rolling upgrade from 3.4 to 3.5 is not supported while `auth` is enabled. "
        "Start from 3.4.32 or newer, so that a way back exists.",
        "The two minor versions write the log entries of users in different formats.",
        "https://etcd.io/docs/v3.5/upgrades/upgrade_3_5/",
    ),
    Rule(
        46,
        "The way back is open until the last member is upgraded",
        "While one member runs the old minor version, the other members can go back to it. "
        "Upgrade the last member only after a test period and a confirmation.",
        "A few seconds after the last upgrade, the cluster version rises. "
        "Then the old version stops with `invalid downgrade`.",
        f"{TESTED} 3.4.23 to 3.5.30",
    ),
    Rule(
        47,
        "Know which downgrades exist",
        "From 3.6 to 3.5, run `etcdctl downgrade validate` and `downgrade enable`, then replace one member at a time. "
        "From 3.5 to 3.4, etcd needs 3.4.32 or newer and disabled users. Otherwise restore a snapshot.",
        "`etcdctl downgrade` does not exist in 3.5, and 3.4.23 does not have the necessary flag.",
        f"{DOCS}downgrades/downgrade_3_6/; {CODE}etcdctl/ctlv3/command/downgrade_command.go; {TESTED} 3.4.23, 3.5.30",
    ),
    Rule(
        48,
        "Patch releases of 3.5 can be changed in both directions",
        "Change between patch releases of 3.5 with a rolling restart, up or down. "
        "Do not go below 3.5.26 after you ran 3.5.26 or newer.",
        "The data format is the same. From 3.5.26 on, etcd removes members from its data that were removed long ago.",
        f"{TESTED} 3.5.16 to 3.5.30 and back, 3.5.1 to 3.5.30; {BLOG}2025/zombie_members_upgrade/",
    ),
    Rule(
        49,
        "Never start newer data with an older minor version",
        "Use `etcdctl downgrade`, or convert the stopped data with `etcdutl migrate`.",
        "An older minor version cannot read the newer data format. "
        "3.6 refuses newer data, but other releases do not check it.",
        f"{CHANGES}3.6.md",
    ),
    Rule(
        50,
        "Keep a mixture of versions short",
        "Finish an upgrade within hours. While two minor versions run, replace only a lost member. "
        "Start it with the lower minor version.",
        "The lower minor version is the cluster version, with which all members work. "
        "A new member of the higher one panics during a downgrade, and 3.7 panics at v2 requests in the log of 3.6.",
        f"{TESTED} `member add` during an upgrade; "
        f"{TESTED} 3.7 with the log of a member that joined with 3.6",
    ),
    Rule(
        51,
        "Use the flags of the installed minor version",
        "Write the configuration from a table of flags for each minor version. "
        "Compare it with the installed binary before you replace the old binary.",
        "Flags and defaults change between minor versions. An unknown flag ends etcd with status 2 at each start.",
        f"{DOCS}upgrades/upgrade_3_6/",
    ),
    Rule(
        52,
        "Replace the binary with one rename",
        "Install the new binary next to the old one, switch by a rename, and keep the old one. "
        "Hold the packages of the distribution with `apt-mark hold`, and upgrade one host at a time.",
        "The scripts of a package can restart etcd on all hosts at the same time.",
        "https://manpages.debian.org/bookworm/apt/apt-mark.8.en.html",
    ),
    Rule(
        111,
        "Before 3.7, each member needs a new raft snapshot",
        "Before the upgrade to 3.7, the newest raft snapshot of each member must be newer than its last v2 entry. "
        "If it is not, `etcdup apply` appends entries without effect until each member makes a snapshot. "
        "It reads the log of each member again before it starts 3.7.",
        "3.7 panics when it replays v2 entries, which 3.5 and older write into the log. "
        "A cluster with few writes that came from 3.5 is affected.",
        f"{TESTED} 3.5.33 to 3.6.14 to 3.7.1, 3.5.33 to 3.6.16 to 3.7.3",
    ),
)
