"""Prove the new files of one member before another host gets such files, and put the previous files back otherwise.

core/host/unproved.py has the commands. While the previous files are kept on the host, the new ones are not proved.
"""

from typing import get_args

from etcdup.core.certs.inventory import LinkPort
from etcdup.core.host.actions import restart_commands
from etcdup.core.host.settings import CRL_VARIABLES
from etcdup.core.host.unproved import OTHER_VERSION, forget_command, put_back_commands
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import InstallFiles, ProveFiles
from etcdup.core.planner.commands import commands_of
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.errors import CommandFailed, EtcdupError
from etcdup.ops.polling import wait_until
from etcdup.ops.world.cut_members import PeersUnreachable
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import MEMBER_TIMEOUT_S, one_proved, wait_for_condition
from etcdup.ops.world.world import World
from etcdup.remote.etcd.handshake import HandshakeFailed, NotServing

# etcd reads its certificates for each handshake. The time is for a slow host.
SERVED_TIMEOUT_S = 10.0
_ROLES: dict[LinkPort, str] = {"client": "server", "peer": "peer"}


async def install_and_prove(performer: Performer, step: InstallFiles, observed: Observed, token: str) -> None:
    """Write certificates and revocation lists of a running member, and prove by new handshakes that both ports work."""
    world, name = performer.world, step.host
    host = world.spec.host(name)
    before = [port for port in get_args(LinkPort) if await _answers(world, host, port)]
    # A bad revocation list shows only after the handshake: the member then closes the connection.
    lists = {layout_of(world.spec, host).crl(kind) for kind in CRL_VARIABLES}
    checked = before if lists.intersection(change.path for change in step.changes) else []
    serving = [port for port in checked if not await _why_closed(world, host, port)]
    fresh = observed.with_pki(world.pki.observe())
    actions = commands_of(step, world.spec, fresh, token)
    await performer.perform(world.hosts[name], actions, step.kind)
    await prove_served_files(performer, host, before)
    await _prove_still_serving(performer, host, serving)
    # The settings of an earlier run are not proved yet: a later step does that.
    if not observed.reachable()[name].is_unproved:
        await forget_previous(performer, name)


async def prove_files(performer: Performer, step: ProveFiles, observed: Observed) -> None:
    """Prove files that an earlier run wrote, by new handshakes and by the health of the member."""
    world, name = performer.world, step.host
    await prove_served_files(performer, world.spec.host(name), [])
    if step.handshake_only:
        return
    await wait_until_healthy(performer, name, observed)
    await forget_previous(performer, name)


async def wait_until_healthy(performer: Performer, name: str, observed: Observed) -> None:
    """Wait until this member is healthy. Otherwise put its previous files back, if there are any."""
    world = performer.world
    try:
        await wait_for_condition(
            world, observed, one_proved(world, name), MEMBER_TIMEOUT_S, (name,),
            reporter=performer.reporter, doing="waiting until it is healthy",
        )  # fmt: skip
    except EtcdupError as failure:
        raise await _with_previous_files(performer, name, failure) from failure


async def prove_served_files(performer: Performer, host: HostSpec, before: list[LinkPort]) -> None:
    """Raise EtcdupError, after the previous files are back, if a port does not serve the certificate of the PKI.

    `before` are the ports that answered a handshake before the files were written.
    """
    world, why = performer.world, ""
    performer.reporter.doing(host.name, "doing TLS handshakes")

    async def is_served() -> bool:
        nonlocal why
        why = await _why_not_served(world, host, before)
        return not why

    if await wait_until(world.clock, is_served, SERVED_TIMEOUT_S):
        performer.reporter.doing(host.name, "")
        return
    await _put_back(performer, host.name)
    raise _not_proved(host, why)


async def _prove_still_serving(performer: Performer, host: HostSpec, ports: list[LinkPort]) -> None:
    """Raise EtcdupError, after the previous files are back, if a port rejects the certificate of its own member."""
    for port in ports:
        if why := await _why_closed(performer.world, host, port):
            await _put_back(performer, host.name)
            raise _not_proved(host, f"the {port} port: {why}")


async def _why_closed(world: World, host: HostSpec, port: LinkPort) -> str:
    """Return why the port does not serve its own member, or an empty text if it does."""
    return await world.why_no_answer(host, port, *world.pki.paths(f"{_ROLES[port]}/{host.name}"))


def _not_proved(host: HostSpec, why: str) -> EtcdupError:
    return EtcdupError(
        f"the new certificates do not work on {host.name}: {why}. The previous files are back on {host.name}, and no "
        "other host got new ones",
        hint="correct the certificate files on this machine, then run the same command again",
    )


async def _with_previous_files(performer: Performer, name: str, failure: EtcdupError) -> EtcdupError:
    """Return the error, after the member is started with its previous files.

    Nothing is put back if no files are kept, if systemd has not started etcd with the new ones, if the member is
    healthy by now, if its version was changed, or if other members do not reach it: no file is the cause then.
    """
    world = performer.world
    if isinstance(failure, PeersUnreachable):
        return failure
    fresh = await observe(world)
    seen = fresh.reachable().get(name)
    if seen is None or not seen.is_unproved or seen.unit.queued or name in healthy(fresh):
        return failure
    if not await _put_back(performer, name):
        return failure
    layout = layout_of(world.spec, world.spec.host(name))
    await performer.perform(world.hosts[name], restart_commands(layout), "RestartMember")
    done = "its previous files are back, and it runs with them"
    try:
        await wait_for_condition(world, fresh, one_proved(world, name), MEMBER_TIMEOUT_S, (name,))
    except EtcdupError as again:
        done = f"its previous files are back, and it is not healthy with them either: {again.message}"
    message = f"{failure.message} with its new files; {done}"
    return EtcdupError(message, detail=failure.detail, hint=failure.hint)


async def forget_previous(performer: Performer, name: str) -> None:
    """Remove the previous files from the host, because the new ones are proved."""
    layout = layout_of(performer.world.spec, performer.world.spec.host(name))
    await performer.perform(performer.world.hosts[name], [forget_command(layout)], "ProveFiles")


async def _put_back(performer: Performer, name: str) -> bool:
    """Put the previous files back. Return False if only certificates are back, because the version was changed."""
    layout = layout_of(performer.world.spec, performer.world.spec.host(name))
    try:
        await performer.perform(performer.world.hosts[name], put_back_commands(layout), "ProveFiles")
    except CommandFailed as error:
        if error.status != OTHER_VERSION:
            raise
        return False
    return True


async def _answers(world: World, host: HostSpec, port: LinkPort) -> bool:
    try:
        await world.served_cert(host, port)
    except NotServing:
        return False
    except HandshakeFailed:
        return True
    return True


async def _why_not_served(world: World, host: HostSpec, before: list[LinkPort]) -> str:
    """Return why a port does not serve the certificate of the PKI; empty if each port that answers serves it.

    A member without a quorum does not answer on its client port.
    """
    certs = world.pki.observe().certs
    for port, role in _ROLES.items():
        try:
            found = await world.served_cert(host, port)
        except NotServing as closed:
            if port in before:
                return f"the {port} port: {closed}"
            continue
        except HandshakeFailed as failed:
            return f"the {port} port: {failed}"
        wanted = certs.get(f"{role}/{host.name}")
        if wanted is None or wanted.fingerprint != found:
            return f"the {port} port serves another certificate"
    return ""
