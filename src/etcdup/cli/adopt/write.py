"""`etcdup adopt`: write cluster.yaml, the files of `tls`, and one marker on each host. No member restarts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from etcdup.cli.adopt.adopt import inspect_members, show_draft, show_json, show_refused, ssh_user_of
from etcdup.cli.apply.plan import observe_and_plan, show_planned
from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.change import Change, ChangeRun, YesNo, apply_change, make_plan
from etcdup.cli.run.cluster_file import read_spec
from etcdup.cli.run.interrupts import run_interruptibly
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.core.adopt.adoption import plan_adoption
from etcdup.core.adopt.copies import Copy, copies_of
from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.existing_file import differing_keys
from etcdup.core.adopt.member import Member
from etcdup.core.adopt.tls import holder_of_ca_key
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import AdoptHost
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.spec.model import Spec
from etcdup.errors import EXIT_CHANGES, EXIT_DONE, EXIT_REFUSED, RefusedError, UsageError
from etcdup.ops.adopt.copy_files import kept_keys, read_copies, write_cluster_file, write_copies
from etcdup.ops.adopt.equal_data import require_equal_data
from etcdup.ops.adopt.local_files import issue_own_files, refuse_tls_faults
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.install.pins import load_pins
from etcdup.ops.world.etcd_access import etcd_access
from etcdup.ops.world.world import World
from etcdup.remote.shared_logins import SharedLogins

_INTERRUPTED = "interrupted; no member was changed; run the same command again to resume"
COMPARING = "each member computes the hash of its data, one after the other"


@dataclass(frozen=True)
class Options:
    """What the operator typed."""

    file: Path
    hosts: Sequence[str]
    name: str
    user: str
    yes: bool
    with_ca_key: bool
    as_json: bool


@dataclass(frozen=True)
class Adoption:
    """What is adopted: the Spec of the file, which is the draft or a file that says the same, and the files to copy."""

    spec: Spec
    text: str
    members: tuple[Member, ...]
    copies: tuple[Copy, ...]

    @property
    def cluster_id(self) -> int:
        return int(self.members[0].inspected.answer.cluster_id, 16)


def adopt_cluster(options: Options) -> int:
    """Show the lists, ask, and write. At the end, show the plan of the adopted cluster, which has no steps."""
    terminal = Terminal()
    return run_interruptibly(terminal, _adopt(terminal, options), lambda: _INTERRUPTED)


async def _adopt(terminal: Terminal, options: Options) -> int:
    async with SharedLogins() as logins:
        code = await _inspect_and_write(terminal, options, logins)
        if code != EXIT_DONE or options.as_json:
            return code
        session = replace(Session.begin(options.file, terminal), connect=logins.connect)
        check_tls_files(session)
        return show_planned(session, await observe_and_plan(session))


async def _inspect_and_write(terminal: Terminal, options: Options, logins: SharedLogins) -> int:
    existing = read_spec(options.file) if options.file.exists() else None
    user = ssh_user_of(options.hosts, options.user or (existing.ssh.user if existing else None) or "")
    members, refused = await inspect_members(
        terminal,
        options.hosts,
        user,
        as_json=options.as_json,
        connect=logins.connect,
        meanwhile=_import_ahead,
    )
    if refused:
        return _refused(terminal, options, members, tuple(refused))
    has_key = await _may_copy_ca_key(terminal, options, members, existing)
    name = options.name or (existing.name if existing else "")
    wanted = Wanted(name, user, is_dry_run=False, with_ca_key=has_key, pinned=load_pins())
    made = draft(members, wanted, datetime.now(UTC))
    if isinstance(made, tuple):
        return _refused(terminal, options, members, made)
    adoption = _adoption(options, members, made, existing)
    missing = _missing(adoption, options.file)
    if missing:
        if options.as_json and not options.yes:
            show_json(terminal, members, made)
            return EXIT_CHANGES
        if not options.as_json:
            show_draft(terminal, members, made)
            _show_writes(terminal, adoption, options.file, missing)
        if not options.yes:
            await YesNo("Adopt this cluster?").ask(terminal)
    await _write(terminal, options, adoption, logins)
    if options.as_json:
        show_json(terminal, members, made)
    return EXIT_DONE


def _import_ahead() -> None:
    """Import what the adoption needs after the inspection."""
    for name in ("remote.etcd.grpc_library", "ops.apply.execution", "core.planner.planner"):
        import_module(f"etcdup.{name}")


def _refused(
    terminal: Terminal, options: Options, members: Sequence[Member], refused: tuple[Refused, ...]
) -> int:
    if not options.as_json:
        return show_refused(terminal, members, refused)
    show_json(terminal, members, refused)
    return EXIT_REFUSED


async def _may_copy_ca_key(
    terminal: Terminal, options: Options, members: Sequence[Member], existing: Spec | None
) -> bool:
    """Return whether etcdup may have the key of the CA: the operator permits it, or this machine has it already."""
    holder = holder_of_ca_key(members)
    if options.with_ca_key and holder is None:
        raise UsageError(
            "`--with-ca-key`: no host has the key of a CA that only etcd uses",
            hint="run the command without `--with-ca-key`: the members keep their certificates",
        )
    is_managed = existing is not None and existing.tls.mode == "managed"
    if options.with_ca_key or (is_managed and existing is not None and _has_ca_key(options.file, existing)):
        return True
    if holder is None or (existing is not None and not is_managed):
        return False
    where = f"{holder[1].key_path} on {holder[0].name}"
    if terminal.can_confirm and not options.yes:
        terminal.say(
            f"With the key of the CA ({where}), etcdup can issue certificates. Without it, it cannot."
        )
        if await terminal.confirm("Copy this key over SSH to this machine?"):
            return True
    if is_managed:
        raise UsageError(
            f"{options.file} has `tls.mode: managed`, which needs the key of the CA ({where})",
            hint="pass `--with-ca-key` to copy it over SSH, or rename the file: `adopt` then writes another one",
        )
    return False


def _has_ca_key(file: Path, spec: Spec) -> bool:
    return (file.parent / Path(spec.tls.dir).expanduser() / "ca-key.pem").exists()


def _adoption(options: Options, members: Sequence[Member], made: Draft, existing: Spec | None) -> Adoption:
    """Return what to adopt. A file that exists is never changed: it must say the same as the draft."""
    if existing is not None and (keys := differing_keys(existing, made.spec)):
        hosts = " ".join(options.hosts)
        raise RefusedError(
            f"{options.file} exists and differs from these members in {', '.join(keys)}",
            hint=f"compare it with the output of `etcdup adopt {hosts} --dry-run`, or pass `-f FILE` to write another "
            "file",
        )
    spec = existing or made.spec
    return Adoption(spec, made.text, tuple(members), copies_of(spec, members))


def _missing(adoption: Adoption, file: Path) -> tuple[str, ...]:
    """Return what is left to write: paths of this machine, and hosts without a marker."""
    targets = [file.parent / Path(each.target).expanduser() for each in adoption.copies]
    paths = [str(each) for each in (file, *targets) if not each.exists()]
    return (*paths, *(each.name for each in adoption.members if each.inspected.first.marker is None))


def _show_writes(terminal: Terminal, adoption: Adoption, file: Path, missing: Sequence[str]) -> None:
    """Say what is written where: files of this machine, each copy of a key with its source, and the markers."""
    terminal.say(terminal.err("bold", "This is written. No member restarts:"))
    if str(file) in missing:
        terminal.say(f"  {file}")
    for each in adoption.copies:
        if (path := str(file.parent / Path(each.target).expanduser())) in missing:
            what = " (a private key, copied over SSH, mode 0600)" if each.is_key else ""
            terminal.say(f"  {path}  from {each.host}:{each.path}{what}")
    names = [each.name for each in adoption.members if each.name in missing]
    if names:
        terminal.say(f"  /etc/etcd/etcdup.json on {', '.join(names)}, the marker, and nothing else there")
    terminal.say()


async def _write(terminal: Terminal, options: Options, adoption: Adoption, logins: SharedLogins) -> None:
    """Check the members with copies of the files that are not kept. If all of them are well, write.

    So a refusal leaves nothing on this machine. The folder of the copies is removed, also after a kill.
    """
    session = Session(adoption.spec, options.file.absolute().parent, terminal, connect=logins.connect)
    run = ChangeRun(session, f"adopt {' '.join(options.hosts)}", as_json=options.as_json)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_adoption(adoption.spec, adoption.cluster_id, fresh)

    with scratch_folder("adopt") as scratch:
        staged = replace(session, folder=scratch, access=etcd_access(session.spec, session.folder))
        async with staged.world() as world:
            copied = await _copy(world, session, adoption)
            write_copies(scratch, copied)
            issue_own_files(adoption.spec, scratch, time.time(), session.ask_passphrase)
            refuse_tls_faults(adoption.spec, scratch, copied)
            world.observes_foreign = True
            observed = await staged.observe(world)
            plan = make_plan(run, planner, observed)
            if not plan.is_empty:
                async with terminal.wait_notice(COMPARING):
                    await require_equal_data(world, observed)
            write_cluster_file(options.file, adoption.text)
            write_copies(session.folder, copied)
            issue_own_files(adoption.spec, session.folder, time.time(), session.ask_passphrase)
            await _write_markers(run, world, Change(planner, None, prove=False), plan, observed)


async def _copy(world: World, session: Session, adoption: Adoption) -> dict[Copy, bytes]:
    """Return the content of the files to copy. A key that is on this machine already is not read again."""
    for gone in world.unreachable.values():
        raise RefusedError(f"{gone.host} cannot be reached: {gone.why}", hint=gone.hint)
    kept = kept_keys(session.folder, adoption.copies)
    async with session.terminal.wait_notice("copying the certificates"):
        return kept | await read_copies(world.hosts, [each for each in adoption.copies if each not in kept])


async def _write_markers(
    run: ChangeRun, world: World, change: Change, plan: Plan, observed: Observed
) -> None:
    if run.report is not None:
        run.report.plan = plan
    if plan.is_empty:
        run.terminal.say(f"cluster {plan.cluster} is adopted: nothing to do")
        return
    await apply_change(run, world, change, plan, observed)
    hosts = ", ".join(step.host for step in plan.steps if isinstance(step, AdoptHost))
    run.terminal.say(f"cluster {plan.cluster} is adopted: {hosts} have the marker, and no member restarted")
    run.terminal.say()
