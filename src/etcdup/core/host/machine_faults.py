"""What a machine itself must be: root for etcdup, an architecture of etcd, systemd, and no other etcd."""

from collections.abc import Iterator

from etcdup.core.host.host_case import HostCase
from etcdup.core.host.unit import WRITTEN_BY, unit_title
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.plain_value import environment_line

# The directory of etcd's data in its data directory.
MEMBER_FOLDER = "member"


def refuse_without_root(case: HostCase) -> Iterator[Refused]:
    """Refuse a login without root rights."""
    if case.seen.is_root or case.layout.supervisor == "process":
        return
    user = f" {case.spec.ssh.user}" if case.spec.ssh.user else ""
    if case.spec.ssh.sudo:
        yield Refused(
            f"{case.name}: sudo does not give the SSH user{user} the rights of root",
            hint=f"on {case.name}, run `sudo id` as that user, and remove `runas_default` from the `Defaults` "
            "with visudo",
            host=case.name,
        )
        return
    yield Refused(
        f"{case.name}: the SSH user{user} is not root",
        hint="set `sudo: true` below `ssh` in cluster.yaml, or set `user: root` there",
        host=case.name,
    )


def refuse_foreign_data(case: HostCase) -> Iterator[Refused]:
    """Refuse a data directory with files that etcdup did not create."""
    if case.seen.marker is not None or case.seen.data.is_empty:
        return
    if lost := tuple(refuse_lost_marker(case)):
        yield from lost
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


def refuse_lost_marker(case: HostCase) -> Iterator[Refused]:
    """Refuse a host whose marker was deleted: what starts etcd there is of this member, and the data exists."""
    if case.seen.marker is not None or not case.seen.has_member or not _has_own_unit(case):
        return
    path = case.layout.marker
    yield Refused(
        f"{case.name}: the marker {path} is missing, although the unit and the data on {case.name} are of its member",
        hint=f"copy {path} from another host of this cluster to {case.name}. In the copy, write `{case.name}` as "
        f"`member`, and `{case.host.member_name}` as `etcd_name` if the file has it. Do not change the file on the "
        "other host. Then run `etcdup apply`, which writes all other files that are missing",
        host=case.name,
        rules=(6,),
    )


def _has_own_unit(case: HostCase) -> bool:
    """Return whether what starts etcd on this host is of this member. The script of a local member has no name in it.

    The settings of a local member have its name, unless they were deleted with the marker.
    """
    unit, conf = (case.seen.files.get(path) for path in (case.layout.unit, case.layout.conf))
    text, settings = (each.text or "" if each else "" for each in (unit, conf))
    if case.layout.supervisor == "systemd":
        return f"Description={unit_title(case.spec.name, case.host.member_name)}\n" in text
    own = environment_line("ETCD_NAME", case.host.member_name)
    return WRITTEN_BY in text and (not settings or own in settings)


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


def refuse_user(case: HostCase) -> Iterator[Refused]:
    """Refuse a user etcd that has the rights of another user, and a host on which it cannot be made."""
    for fault in case.seen.path_faults:
        if fault.kind == "root-user":
            message = "user etcd has the UID 0, so etcd would run as root"
            hint = f"remove this user from /etc/passwd on {case.name}. `etcdup apply` makes another one"
        elif fault.kind == "shared-user":
            message = (
                f"the users etcd and {fault.detail} have the same UID, so both can change the data of etcd"
            )
            hint = (
                f"run `usermod -u UID etcd` on {case.name}, with a UID that no other user has. Then run `chown -R "
                "etcd:etcd` for the data of a member, if there is one"
            )
        elif fault.kind == "locked":
            message = f"there is no user etcd, and {fault.path} cannot be written"
            hint = (
                f"run `chattr -i {fault.path}` on {case.name} if `lsattr {fault.path}` shows `i`. If it is mounted "
                "read-only, make the user with the tool that manages this file"
            )
        else:
            continue
        yield Refused(f"{case.name}: {message}", hint=hint, host=case.name)


def refuse_small_files(case: HostCase) -> Iterator[Refused]:
    """Refuse a login that may not write files as large as the programs of etcd."""
    for fault in case.seen.path_faults:
        if fault.kind == "file-limit":
            yield Refused(
                f"{case.name}: the login may not write large files: `ulimit -f` is {fault.path} blocks",
                hint=f"on {case.name}, remove `fsize` from /etc/security/limits.conf and /etc/security/limits.d, and "
                "`ulimit -f` from the files that the login shell reads",
                host=case.name,
            )


def refuse_without_systemd(case: HostCase) -> Iterator[Refused]:
    """Refuse a host that runs another init system."""
    if case.layout.supervisor == "systemd" and not case.seen.systemd:
        yield Refused(
            f"{case.name} does not run systemd, and etcdup starts etcd as a systemd unit",
            hint="use another host, with systemd",
            host=case.name,
        )
