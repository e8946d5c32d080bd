"""What a machine itself must be: root for etcdup, an architecture of etcd, systemd, and no other etcd."""

from collections.abc import Iterator

from etcdup.core.host.host_case import HostCase
from etcdup.core.host.unit import WRITTEN_BY
from etcdup.core.plan.plan import Refused

# The directory of etcd's data in its data directory.
MEMBER_FOLDER = "member"


def refuse_without_root(case: HostCase) -> Iterator[Refused]:
    """Refuse a login without root rights."""
    if case.seen.is_root or case.layout.supervisor == "process":
        return
    user = f" {case.spec.ssh.user}" if case.spec.ssh.user else ""
    yield Refused(
        f"{case.name}: the SSH user{user} is not root",
        hint="set `sudo: true` below `ssh` in cluster.yaml, or set `user: root` there",
        host=case.name,
    )


def refuse_foreign_data(case: HostCase) -> Iterator[Refused]:
    """Refuse a data directory with files that etcdup did not create."""
    if case.seen.marker is not None or case.seen.data.is_empty:
        return
    entries = case.seen.data.entries or ()
    names = ", ".join(entries[:3])
    what = f"it contains {names}"
    hint = (
        "move the files to another directory if you do not need them, or set `etcd.data_dir` to another directory. "
        "etcdup never changes them"
    )
    if MEMBER_FOLDER in entries:
        what = "it has the data of another etcd (the directory `member`)"
        hint = (
            f"run `systemctl status etcd` and `crictl ps` on {case.name}: another etcd can run there, for example "
            "that of kubeadm. If it runs, or if its data is needed, use another host"
        )
    message = f"{case.name}: {case.seen.data.path} is not empty and was not made by etcdup: {what}"
    yield Refused(message, hint=hint, host=case.name, rules=(6,))


def refuse_other_etcd(case: HostCase) -> Iterator[Refused]:
    """Refuse a host where another etcd runs."""
    running = [*case.seen.other_units]
    if case.seen.marker is None and case.seen.unit.is_running:
        running.append("etcd.service")
    if running:
        yield Refused(
            f"{case.name}: another etcd runs there: {', '.join(running)}",
            hint=f"use another host. Only if no client uses this etcd, run `systemctl disable --now "
            f"{' '.join(running)}` on {case.name}",
            host=case.name,
            rules=(96,),
        )


def refuse_foreign_unit_file(case: HostCase) -> Iterator[Refused]:
    """Refuse to replace a unit that etcdup did not write, whether it runs or not."""
    path = case.layout.unit
    file = case.seen.files.get(path)
    if case.seen.marker is not None or file is None or file.text is None or WRITTEN_BY in file.text:
        return
    yield Refused(
        f"{case.name}: {path} was not written by etcdup, which needs this name",
        hint=f"run `mv {path} {path}.old && systemctl daemon-reload` on {case.name} if you do not need that unit",
        host=case.name,
        rules=(96,),
    )


def refuse_arch(case: HostCase) -> Iterator[Refused]:
    """Refuse an architecture for which etcdup has no etcd."""
    if case.seen.arch not in ("amd64", "arm64"):
        yield Refused(
            f"{case.name} has the architecture {case.seen.arch}. etcdup runs etcd on amd64 and arm64 only",
            host=case.name,
            rules=(98,),
        )


def refuse_without_systemd(case: HostCase) -> Iterator[Refused]:
    """Refuse a host that runs another init system."""
    if case.layout.supervisor == "systemd" and not case.seen.systemd:
        yield Refused(
            f"{case.name} does not run systemd, and etcdup starts etcd as a systemd unit",
            hint="use another host, with systemd",
            host=case.name,
        )
