"""etcd.conf of keys that few clusters have. Without them, its text is as before."""

import pytest

from etcdup.core.host.settings import Settings, settings_of, show_settings
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.load import load
from tests.support.fake_world import TOKEN


def settings(host: str = "", more: str = "") -> Settings:
    own = f", {host}" if host else ""
    spec = load(f"name: prod\nversion: 3.6.14\nhosts: [{{name: infra1, address: 10.0.0.1{own}}}]\n{more}")
    layout = layout_of(spec, spec.hosts[0])
    return settings_of(spec, spec.hosts[0], layout, TOKEN, peer_common_name=None, trust="")


@pytest.mark.parametrize(
    ("listen", "clients", "peers"),
    [
        ("'::'", "https://[::]:2379", "https://[::]:2380"),
        ("0.0.0.0", "https://0.0.0.0:2379", "https://0.0.0.0:2380"),
        ("10.0.0.9", "https://10.0.0.9:2379,https://127.0.0.1:2379", "https://10.0.0.9:2380"),
        ("'fd00::1'", "https://[fd00::1]:2379,https://127.0.0.1:2379", "https://[fd00::1]:2380"),
    ],
)
def test_etcd_binds_no_port_of_an_address_twice(listen: str, clients: str, peers: str) -> None:
    own = settings(f"listen_address: {listen}").variables()
    assert (own["ETCD_LISTEN_CLIENT_URLS"], own["ETCD_LISTEN_PEER_URLS"]) == (clients, peers)
    assert own["ETCD_LISTEN_METRICS_URLS"] == "http://127.0.0.1:2381"


def test_the_name_of_the_member_in_etcd() -> None:
    own = settings("member: 'Node 2 #x'").variables()
    assert own["ETCD_NAME"] == "Node 2 #x"
    assert own["ETCD_INITIAL_CLUSTER"] == "Node 2 #x=https://10.0.0.1:2380"


def test_compaction_by_revision() -> None:
    own = settings(more="etcd: {auto_compaction: {revisions: 10000}}\n").variables()
    assert (own["ETCD_AUTO_COMPACTION_MODE"], own["ETCD_AUTO_COMPACTION_RETENTION"]) == ("revision", "10000")


def test_additional_variables_have_a_digest() -> None:
    texts = [
        settings(more=f"etcd: {{environment: {each}}}\n")
        for each in ("{GOGC: off}", "{GOGC: 50}", "{GOMAXPROCS: 50}", "{GOGC: 50, GOMAXPROCS: 2}")
    ]
    digests = [each.variables()["ETCDUP_ENVIRONMENT"] for each in texts]
    assert len(set(digests)) == len(digests)
    assert 'GOGC="off"\n' in show_settings(texts[0])
    assert "ENVIRONMENT" not in show_settings(settings())


def test_keys_with_the_values_that_they_would_have_anyway_change_nothing() -> None:
    same = settings(
        "member: infra1, data_dir: /var/lib/etcd", "etcd: {auto_compaction: 8h, environment: {}}\n"
    )
    assert show_settings(same) == show_settings(settings())


def test_feature_gates_do_not_replace_the_corruption_checks() -> None:
    own = settings(more="etcd: {extra: {feature-gates: StopGRPCServiceOnDefrag=true}}\n")
    gates = "InitialCorruptCheck=true,CompactHashCheck=true,StopGRPCServiceOnDefrag=true"
    assert own.variables()["ETCD_FEATURE_GATES"] == gates
    assert show_settings(own).count("FEATURE_GATES") == 1


def test_an_interval_that_extra_has_under_its_former_name_is_set_once() -> None:
    """kubeadm sets it. etcd 3.6 does not start with both names."""
    flag = "experimental-watch-progress-notify-interval"
    own = settings(more=f"etcd: {{extra: {{{flag}: 7s}}}}\n").variables()
    found = {name: value for name, value in own.items() if "NOTIFY" in name}
    assert found == {"ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL": "7s"}


def test_a_corruption_check_that_extra_has_as_a_flag_is_no_gate() -> None:
    """kubeadm and kubespray set the flag on 3.5. etcd 3.6 starts with the flag or with the gate, not with both."""
    flag, other = "experimental-initial-corrupt-check", "experimental-compact-hash-check-enabled"
    one = settings(more=f"etcd: {{extra: {{{flag}: true}}}}\n").variables()
    assert one["ETCD_FEATURE_GATES"] == "CompactHashCheck=true"
    both = settings(more=f"etcd: {{extra: {{{flag}: true, {other}: true}}}}\n").variables()
    assert "ETCD_FEATURE_GATES" not in both
    with_gates = settings(
        more=f"etcd: {{extra: {{{flag}: true, {other}: true, feature-gates: LeaseCheckpoint=true}}}}\n"
    ).variables()
    assert with_gates["ETCD_FEATURE_GATES"] == "LeaseCheckpoint=true"
