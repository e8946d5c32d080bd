"""The cluster's certificates as text and as data. Pure: the same in, the same out."""

from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint, table_lines
from etcdup.core.certs.inventory import CertRow, Inventory, Link
from etcdup.ops.certs.proof import ServedCert

_HEADINGS = ("CERTIFICATE", "LEFT", "SEEN")


def render_inventory(inventory: Inventory, raft: str, paint: Paint) -> str:
    """Two lines a certificate, then the links between members, then whatever is wrong, then the verdict."""
    rows = [
        _HEADINGS,
        *((", ".join(row.roles), _left(row), "; ".join(row.locations)) for row in inventory.rows),
    ]
    heading, *body = table_lines(rows)
    lines = [paint("dim", heading)]
    for text, row in zip(body, inventory.rows, strict=True):
        lines.append(paint("yellow" if row.days_left >= 0 else "red", text) if row.ends_soon else text)
        lines.append(paint("dim", f"      {_about(row)}"))
    lines += ["", *_link_lines(inventory.links, paint)]
    lines += [f"  raft: {raft}"] if raft else []
    lines += [f"  {paint('yellow', '!')} {finding}" for finding in inventory.findings]
    lines += _archived_lines(inventory)
    return "\n".join([*lines, "", _verdict(inventory, paint)]) + "\n"


def _archived_lines(inventory: Inventory) -> list[str]:
    count = sum(row.is_archived for row in inventory.rows)
    if not count:
        return []
    return [
        f"  etcd still takes {count_text(count, 'certificate')} that nobody should use: it asks no revocation list",
        "  (where such a key may be in wrong hands, `etcdup certs rotate-ca` ends it)",
    ]


def render_served(found: Sequence[ServedCert], paint: Paint) -> str:
    """A line a port: what it serves to a new handshake, and whether that is what it should."""
    return "".join(_served_line(each, paint) for each in found)


def _served_line(served: ServedCert, paint: Paint) -> str:
    place = f"{served.host}:{served.port}"
    if served.until is None:
        return f"{place} {paint('red', served.why)}\n"
    what = f"serial {served.serial} until {served.until:%Y-%m-%d %H:%M} UTC"
    if served.why:
        return f"{place} {paint('red', served.why)}: {what}\n"
    return f"{place} {paint('green', 'serves')} {what}\n"


def _left(row: CertRow) -> str:
    return "expired" if row.days_left < 0 else count_text(row.days_left, "day")


def _about(row: CertRow) -> str:
    cert = row.facts.cert
    parts = [
        row.facts.subject,
        ", ".join((*cert.dns_names, *cert.addresses)),
        ", ".join(cert.usages),
        f"from {row.facts.issuer}" if row.facts.issuer != row.facts.subject else "self-signed",
        f"serial {row.facts.serial}",
        f"used by {', '.join(row.used_by)}",
    ]
    return " · ".join(filter(None, parts))


def _link_lines(links: Sequence[Link], paint: Paint) -> list[str]:
    broken = [link for link in links if link.why]
    if links and not broken:
        ports = " and ".join(f"{port} port" for port in dict.fromkeys(link.port for link in links))
        return [f"  every member reached every other's {ports} ({count_text(len(links), 'new handshake')})"]
    return [f"  {paint('yellow', '!')} {link.problem}" for link in broken]


def _verdict(inventory: Inventory, paint: Paint) -> str:
    soon = [row for row in inventory.rows if row.ends_soon]
    if inventory.is_ok:
        first = min(row.days_left for row in inventory.rows if row.in_use)
        return f"certificates are {paint('bold green', 'well')}: the first ends in {count_text(first, 'day')}"
    parts = [f"{count_text(len(soon), 'certificate')} to renew"] if soon else []
    wrong = len(inventory.findings) + sum(bool(link.why) for link in inventory.links)
    parts += [f"{count_text(wrong, 'finding')}"] if wrong else []
    return f"certificates are {paint('bold yellow', 'not well')}: {', '.join(parts)}"


def inventory_json(inventory: Inventory, raft: str) -> dict[str, Any]:
    """`days_left` is below 0 for what has expired. What is not `in_use` is a former member's, or a consumer's that is
    forgotten or replaced: etcd lets its holder in until it ends or its CA is dropped."""
    return {
        "format": 1,
        "well": inventory.is_ok,
        "certificates": [_row_json(row) for row in inventory.rows],
        "findings": list(inventory.findings),
        "links": [
            {
                "from": link.source,
                "to": link.target,
                "port": link.port,
                "ok": not link.why,
                "why": link.why or None,
            }
            for link in inventory.links
        ],
        "raft": raft or None,
    }


def _row_json(row: CertRow) -> dict[str, Any]:
    cert = row.facts.cert
    return {
        "roles": list(row.roles),
        "subject": row.facts.subject,
        "issuer": row.facts.issuer,
        "signed_by_trusted_ca": bool(cert.issuer_key),
        "serial": row.facts.serial,
        "fingerprint": cert.fingerprint,
        "dns_names": list(cert.dns_names),
        "addresses": list(cert.addresses),
        "usages": list(cert.usages),
        "is_ca": cert.is_ca,
        "not_before": cert.not_before.isoformat(),
        "not_after": cert.not_after.isoformat(),
        "days_left": row.days_left,
        "ends_soon": row.ends_soon,
        "in_use": row.in_use,
        "used_by": list(row.used_by),
        "seen": list(row.locations),
    }
