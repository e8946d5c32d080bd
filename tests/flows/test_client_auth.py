"""`tls.client_auth`: an edit restarts the members, and clients without a certificate are accepted or rejected."""

from pathlib import Path

from etcdup.core.host.closed_member import closed_settings
from etcdup.core.host.files import desired_settings
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.layout import layout_of
from etcdup.ops.pki.open import open_pki
from tests.flows.test_restore import restore, snapshot_in
from tests.support.fake_world import TOKEN, bring_up, make_plan, running_network, spec_of
from tests.support.kill_everywhere import apply_and_check, kill_everywhere, prepare_start
from tests.support.texts import Texts

OPTIONAL = spec_of(3, "tls: {client_auth: optional}\n")


async def test_the_edit_and_its_reverse_restart_each_member_once(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    for spec, value, ca in ((OPTIONAL, "false", None), (spec_of(3), "true", "/etc/etcd/pki/ca.pem")):
        answer = await make_plan(spec, network, tmp_path)
        assert isinstance(answer, Plan)
        assert sum(isinstance(step, RestartMember) for step in answer.steps) == 3
        texts(answer.notes)
        await bring_up(spec, network, tmp_path)
        await apply_and_check(spec, network, tmp_path)
        for machine in network.machines.values():
            assert machine.process is not None
            settings = machine.process.environment
            assert (settings["ETCD_CLIENT_CERT_AUTH"], settings.get("ETCD_TRUSTED_CA_FILE")) == (value, ca)
            assert settings["ETCD_PEER_CLIENT_CERT_AUTH"] == "true"


async def test_after_a_kill_at_any_command_the_next_apply_finishes(tmp_path: Path) -> None:
    start = await prepare_start(spec_of(3), OPTIONAL, tmp_path)
    await kill_everywhere(start, OPTIONAL)


async def test_a_restore_ends_with_clients_without_a_certificate(tmp_path: Path) -> None:
    network = await running_network(OPTIONAL, tmp_path)
    await restore(OPTIONAL, network, tmp_path, snapshot_in(tmp_path))
    await apply_and_check(OPTIONAL, network, tmp_path)


async def test_a_closed_member_is_closed_all_the_same(tmp_path: Path) -> None:
    """Until the leases of restored data are revoked, only etcdup may connect."""
    await running_network(OPTIONAL, tmp_path)
    host, pki = OPTIONAL.hosts[0], open_pki(OPTIONAL, tmp_path).observe()
    layout = layout_of(OPTIONAL, host)
    closed = closed_settings(desired_settings(OPTIONAL, host, layout, TOKEN, pki), OPTIONAL, host, layout)
    own = closed.variables()
    assert (own["ETCD_CLIENT_CERT_AUTH"], own["ETCD_TRUSTED_CA_FILE"]) == ("true", f"{layout.closed}/ca.pem")


async def test_with_users_of_etcd_the_edit_is_refused(texts: Texts, tmp_path: Path) -> None:
    """etcd takes the user of etcdup from its certificate. Without certificates, etcdup would have no rights."""
    network = await running_network(spec_of(3), tmp_path)
    network.etcd.only().auth = True
    answer = await make_plan(OPTIONAL, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
    assert network.commands == []
    written_back = await make_plan(spec_of(3), network, tmp_path)
    assert isinstance(written_back, Plan)
    assert written_back.is_empty


async def test_with_a_password_the_edit_is_applied_although_users_are_enabled(tmp_path: Path) -> None:
    logs_in = spec_of(3, "etcd: {access: {user: operator, password_command: pass etcd}}\n")
    start = await prepare_start(logs_in, logs_in, tmp_path)
    start.network.etcd.only().auth = True
    edited = logs_in.model_copy(update={"tls": OPTIONAL.tls})
    await kill_everywhere(start, edited)


async def test_users_that_are_enabled_later_are_named(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(OPTIONAL, tmp_path)
    cluster = network.etcd.only()
    cluster.auth, cluster.denied = True, "user name is empty"
    answer = await make_plan(OPTIONAL, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
