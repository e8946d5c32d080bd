"""The result of `check`, as text and as data. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint
from etcdup.core.audit.findings import LEVELS, Disk, Evidence, Finding, HostInspection, worst_level
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

_STYLES = {"wrong": "bold red", "advice": "yellow", "untried": "dim"}


def render_check(spec: Spec, evidence: Evidence, findings: Sequence[Finding], paint: Paint) -> str:
    """Return the findings by host, then the measurements, then the verdict."""
    lines = []
    for host, group in groupby(findings, key=lambda each: each.host):
        lines.append(paint("bold", host or f"cluster {spec.name}"))
        for each in group:
            lines += _lines(each, paint)
        lines.append("")
    measured = [
        line for host in spec.hosts for line in _measurement_lines(evidence.inspections.get(host.name))
    ]
    lines += [*measured, ""] if measured else []
    return "\n".join([*lines, _verdict(findings, paint)]) + "\n"


def _lines(each: Finding, paint: Paint) -> list[str]:
    where = [each.code]
    if each.cis:
        where.append(f"CIS {each.cis}")
    if each.rules:
        where.append(f"rule{'s' if len(each.rules) > 1 else ''} {', '.join(map(str, each.rules))}")
    after = paint("dim", f"  ({'; '.join(where)})")
    lines = [f"  {paint(_STYLES[each.level], f'{each.level:7}')}  {each.what}{after}"]
    lines += [f"           {each.why}"] if each.why else []
    fix = each.fix.replace("\n", "\n                ")
    return [*lines, f"           {paint('cyan', 'fix:')} {fix}"]


def _measurement_lines(closer: HostInspection | None) -> list[str]:
    """Return the disks of a host, and below them its round trips, its fsync times and the exposure of its unit.

    For example `infra1: /var/lib/etcd on /dev/sda1 (ext4, mounted at /), 40.0 GiB free`.
    """
    if closer is None:
        return []
    parts = [f"{ms:.1f} ms to {name}" for name, ms in sorted(closer.round_trips_ms.items())]
    said = [f"round trips {', '.join(parts)}"] if parts else []
    if closer.fsyncs_ms:
        p99 = sorted(closer.fsyncs_ms)[len(closer.fsyncs_ms) * 99 // 100 - 1]
        said.append(f"99 % of small writes within {p99:.1f} ms")
    if closer.exposure is not None and closer.settings:
        said.append(f"systemd rates the exposure of the unit {closer.exposure} of 10 (0 is safest)")
    lines = [*map(_disk, closer.disks), *(["; ".join(said)] if said else [])]
    heads = [f"{closer.host}:", *[" " * (len(closer.host) + 1)] * len(lines)]
    return [f"  {head} {line}" for head, line in zip(heads, lines, strict=False)]


def _disk(disk: Disk) -> str:
    place = f"{disk.path} on {disk.source} ({disk.filesystem}, mounted at {disk.mount})"
    return f"{place}, {show_size(disk.free_bytes)} free"


def _verdict(findings: Sequence[Finding], paint: Paint) -> str:
    if not findings:
        return paint("bold green", "no findings")
    counts = {level: sum(each.level == level for each in findings) for level in LEVELS}
    said = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    style = _STYLES[worst_level(tuple(findings)) or "untried"]
    return f"{count_text(len(findings), 'finding')}: {paint(style, said)}"


def check_json(spec: Spec, evidence: Evidence, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "format": 1,
        "cluster": spec.name,
        "at": evidence.observed.at.isoformat(timespec="seconds"),
        "worst": worst_level(tuple(findings)),
        "findings": [
            {
                "level": each.level,
                "code": each.code,
                "host": each.host or None,
                "what": each.what,
                "why": each.why,
                "fix": each.fix,
                "rules": list(each.rules),
                "cis": each.cis or None,
            }
            for each in findings
        ],
        "hosts": {name: _host_json(closer) for name, closer in evidence.inspections.items()},
    }


def _host_json(closer: HostInspection) -> dict[str, Any]:
    return {
        "round_trips_ms": dict(closer.round_trips_ms),
        "sources": dict(closer.sources),
        "synchronised": closer.synchronised,
        "mount": " ".join([closer.disks[0].source, closer.disks[0].mount]) if closer.disks else "",
        "disks": [asdict(disk) for disk in closer.disks],
        "writes_ms": list(closer.fsyncs_ms),
        "unit_exposure": closer.exposure,
    }
