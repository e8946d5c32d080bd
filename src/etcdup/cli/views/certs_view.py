"""The cluster's certificates, as text and as data. Pure."""

from collections.abc import Sequence
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint, table_lines
from etcdup.core.certs.inventory import CertRow, Inventory, Link
from etcdup.core.observed.pki import CrlSeen
from etcdup.ops.certs.proof import ServedCert

_HEADINGS = ("CERTIFICATE", "LEFT", "SEEN")


def render_inventory(inventory: Inventory, raft: str, paint: Paint) -> str:
    """Return two lines for each certificate, then the links between members, the findings and the verdict."""
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
    lines += [_crl_line(crl) for crl in inventory.crls]
    lines += _archived_lines(inventory)
    return "\n".join([*lines, "", _verdict(inventory, paint)]) + "\n"


def _archived_lines(inventory: Inventory) -> list[str]:
    count = sum(not row.in_use and not row.is_revoked and row.days_left >= 0 for row in inventory.rows)
    if not count:
        return []
    return [
        f"  etcd still accepts {count_text(count, 'certificate')} that no client should use",
        "  (run `etcdup certs revoke NAME` to make the members reject it)",
    ]


def _crl_line(crl: CrlSeen) -> str:
    until = f", next update before {crl.next_update:%Y-%m-%d}" if crl.next_update else ""
    return f"  revocation list {crl.number}: {count_text(len(crl.revoked), 'certificate')} revoked{until}"


def render_served(found: Sequence[ServedCert], paint: Paint) -> str:
    """Return one line for each port: the certificate that it serves in a new handshake, and what is wrong with it."""
    return "".join(_served_line(each, paint) for each in found)


def _served_line(served: ServedCert, paint: Paint) -> str:
    port = f"{served.host}:{served.port}"
    if served.until is None:
        return f"{port} {paint('red', served.why)}\n"
    what = f"serial {served.serial} until {served.until:%Y-%m-%d %H:%M} UTC"
    if served.why:
        return f"{port} {paint('red', served.why)}: {what}\n"
    return f"{port} {paint('green', 'serves')} {what}\n"


def _left(row: CertRow) -> str:
    if row.is_revoked:
        return "revoked"
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
        return [
            f"  every member reached the {ports} of every other member ({count_text(len(links), 'new handshake')})"
        ]
    return [f"  {paint('yellow', '!')} {link.problem}" for link in broken]


def _verdict(inventory: Inventory, paint: Paint) -> str:
    soon = [row for row in inventory.rows if row.ends_soon]
    if inventory.is_ok:
        first = min(row.days_left for row in inventory.rows if row.in_use)
        return (
            f"certificates are {paint('bold green', 'ok')}: the first expires in {count_text(first, 'day')}"
        )
    parts = [f"{count_text(len(soon), 'certificate')} to renew"] if soon else []
    wrong = len(inventory.findings) + sum(bool(link.why) for link in inventory.links)
    parts += [f"{count_text(wrong, 'finding')}"] if wrong else []
    return f"certificates {paint('bold yellow', 'need attention')}: {', '.join(parts)}"


def inventory_json(inventory: Inventory, raft: str) -> dict[str, Any]:
    """Return the inventory as data. `days_left` is below 0 for an expired certificate.

    A certificate that is not `in_use` is revoked, or belongs to a former member, or to a consumer that was forgotten
    or got a newer certificate. etcd accepts it until it expires, until it is revoked, or until its CA is dropped.
    """
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
        "revocation_lists": [_crl_json(crl) for crl in inventory.crls],
    }


def _crl_json(crl: CrlSeen) -> dict[str, Any]:
    return {
        "number": crl.number,
        "this_update": crl.this_update.isoformat(),
        "next_update": crl.next_update.isoformat() if crl.next_update else None,
        "signed_by_trusted_ca": bool(crl.issuer_key),
        "revoked": sorted(crl.revoked),
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
        "revoked": row.is_revoked,
        "used_by": list(row.used_by),
        "seen": list(row.locations),
    }
