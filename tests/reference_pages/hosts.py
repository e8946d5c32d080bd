"""docs/reference/hosts.md: what a host must have and allow."""

from etcdup.core.host.programs import PROGRAMS
from etcdup.core.host.requirements import REQUIREMENTS, Who
from tests.reference_pages.markdown import GENERATED, table

_HOSTS = """\
# Hosts

What a host must have and allow. `etcdup plan` and `etcdup check` report what is missing on each host, with a hint.
`etcdup apply` refuses before it writes anything. A running member needs less: if a program is missing, etcdup refuses
only the plans that run it.
"""
_GROUPS: dict[Who, str] = {
    "login": "The login",
    "host": "Every host",
    "member": "A host that gets a new member",
    "start": "A host on which etcd starts",
    "again": "A host on which etcd starts with the data that it has",
}


def hosts_page() -> str:
    parts = [_HOSTS, GENERATED]
    for who, title in _GROUPS.items():
        rows = "\n".join(f"- {row.what}" for row in REQUIREMENTS if row.who == who)
        parts.append(f"## {title}\n\n{rows}\n")
    programs = [(f"`{each.name}`", each.package, each.why) for each in PROGRAMS]
    parts.append("## Programs\n\n" + table(("program", "package", "etcdup needs it for"), programs))
    return "\n".join(parts)
