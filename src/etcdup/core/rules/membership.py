"""Rules for changes of the member list."""

from etcdup.core.rules.model import CHANGES, CODE, DOCS, ISSUE, PULL, TESTED, Rule

MEMBERSHIP = (
    Rule(
        25,
        "Change one member at a time",
        "After each change, wait until all voters have started and all members report the same list. "
        "The leader must be stable, and all members must be connected for at least 5 s.",
        "For 5 s after a start, etcd refuses `member add` with `etcdserver: unhealthy cluster`. "
        "Repeat the request for about 10 s before you report a failure.",
        f"{DOCS}op-guide/runtime-configuration/; {CODE}server/etcdserver/server.go; "
        f"{TESTED} clusters of 2 and 3 members",
    ),
    Rule(
        26,
        "Remove a dead member before you add a new one",
        "If a voter is dead, remove it first. Then add its replacement as a learner.",
        "Many releases refuse to add a voter or a learner while a voter is dead. "
        "The removal of the dead member is accepted at once.",
        f"{DOCS}faq/; {DOCS}op-guide/runtime-configuration/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        27,
        "Add each member as a learner",
        "Add a new member with `member add --learner`, and promote it later. Never add a voter directly.",
        "A new voter counts for the quorum before it has started. "
        "If it does not start in a cluster of 1, all writes fail at once; a learner does not count.",
        f"{DOCS}learning/design-learner/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        28,
        "Refuse an addition while another one is not complete",
        "Add no member while a learner or a member without a name exists. "
        "Keep `strict-reconfig-check` on, but do not rely on it from 3.5.30 and 3.6.11 on.",
        "From these releases on, etcd requires connections to a quorum only, not to all voters. "
        "In a test, etcd accepted a fifth voter while 3 were alive: one more failure stops all writes.",
        f"{PULL}21669; {PULL}21667; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        29,
        "Have one learner, and promote it when it is in sync",
        "etcd allows one learner by default. Promote it after it has at least 90 % of the log of the leader. "
        "Repeat the promotion if etcd answers that the learner is not in sync.",
        "Releases before 3.4.24 and 3.5.7 can promote a learner that has not started.",
        f"{DOCS}op-guide/runtime-configuration/; {CHANGES}3.5.md; {TESTED} a learner that has not started",
    ),
    Rule(
        30,
        "Give clients no learner as an endpoint",
        "Add a member to the endpoint lists of clients only after its promotion.",
        "A learner serves no linearizable requests.",
        f"{DOCS}learning/design-learner/",
    ),
    Rule(
        31,
        "Replace a member in a fixed order",
        "Stop and mask the old unit, remove the member, and clear its data directory. "
        "Then add a learner, and start it with state `existing` and with the list from `member add`. "
        "Promote it when it is in sync, and then update the endpoint lists.",
        "The new member may have the same name and URL, because it gets a new ID.",
        f"{DOCS}op-guide/runtime-configuration/; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        32,
        "Never start a wiped member under its old ID",
        "If a member has lost its data, remove it from the member list and add it again. "
        "Do not start it with an empty data directory.",
        "A wiped voter has lost its vote and its log. "
        "It panics again and again with `tocommit is out of range`, or stops with an error.",
        f"{ISSUE}10254; {ISSUE}13509; {ISSUE}20269; {TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        33,
        "A removed member exits with status 0",
        "After a removal, disable and mask the unit. Then archive the data directory.",
        "A removed member logs that its data directory must be removed, and exits with status 0. "
        "With `Restart=always`, systemd starts it again and again; with `Restart=on-failure` it does not.",
        f"{TESTED} 3.4.23, 3.5.16, 3.5.30",
    ),
    Rule(
        34,
        "Count the live members before a removal",
        "Remove followers before the leader. "
        "Before the request, check that the live members of the resulting list are a quorum of it. "
        "While a voter is down, remove no other voter.",
        "etcd counts started members. A dead member that started once still counts as started.",
        f"{DOCS}op-guide/runtime-configuration/",
    ),
    Rule(
        35,
        "Refuse each change that leaves too few live voters",
        "With n voters after the change, at least n/2 + 1 (rounded down) must be alive. Refuse the change otherwise.",
        "Without a quorum, the cluster accepts no write, and no change of members can repair it.",
        f"{DOCS}faq/",
    ),
    Rule(
        36,
        "Change a peer URL in the member list first",
        "Run `etcdctl member update`, and then restart the member with its new URL. "
        "If a majority changes its addresses at once, treat it as a lost quorum.",
        "The other members find a member only at the URL in the member list.",
        f"{DOCS}op-guide/runtime-configuration/",
    ),
    Rule(
        37,
        "With two dead members of five, remove them first",
        "Remove the dead members before you add new ones. This works on every release.",
        "Only releases from 3.5.30 (series 3.5) and 3.6.11 on accept an addition with two dead voters.",
        f"{PULL}21641; {CHANGES}3.5.md; {CHANGES}3.6.md",
    ),
)
