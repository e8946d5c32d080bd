"""The rules of operating etcd, as data: by topic, and by number. Only `explain` and tests import them."""

from etcdup.core.rules.backups import BACKUPS, QUORUM_LOSS
from etcdup.core.rules.bootstrap import BOOTSTRAP
from etcdup.core.rules.certificates import CERTIFICATES
from etcdup.core.rules.codes import CODES
from etcdup.core.rules.hardening import HARDENING
from etcdup.core.rules.hosts import HOSTS
from etcdup.core.rules.kubernetes import KUBERNETES_RULES, MONITORING
from etcdup.core.rules.maintenance import MAINTENANCE
from etcdup.core.rules.membership import MEMBERSHIP
from etcdup.core.rules.model import Code, Rule
from etcdup.core.rules.versions import VERSIONS

__all__ = ["CODES", "RULES", "TOPICS", "Code", "Rule"]

TOPICS: dict[str, tuple[Rule, ...]] = {
    "Bootstrap": BOOTSTRAP,
    "Certificates": CERTIFICATES,
    "Members": MEMBERSHIP,
    "Restarts and versions": VERSIONS,
    "Backup and restore": BACKUPS,
    "Lost quorum": QUORUM_LOSS,
    "Maintenance": MAINTENANCE,
    "Hardening and corruption": HARDENING,
    "Hosts": HOSTS,
    "Kubernetes": KUBERNETES_RULES,
    "Monitoring": MONITORING,
}
RULES: dict[int, Rule] = {
    rule.number: rule
    for rule in sorted((r for rules in TOPICS.values() for r in rules), key=lambda r: r.number)
}
