"""A CA file that was changed on one host: the other hosts are the witnesses, each with its own path."""

from dataclasses import replace

import pytest

from etcdup.core.certs.trust import refuse_changed_ca
from etcdup.core.observed.directory import FileSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, first_states
from tests.support.observed_model import ObservedModel

ON_MACHINES = spec_of(3, version=BASE)
# Members of one machine have a directory of their own each, as in `etcdup demo`.
ON_ONE_MACHINE = ON_MACHINES.model_copy(
    update={
        "hosts": tuple(
            host.model_copy(update={"local": True, "root": f"/srv/{host.name}"}) for host in ON_MACHINES.hosts
        )
    }
)
CHANGE = "0" * 16


def observe(spec: Spec, changed: str) -> Observed:
    observed = ObservedModel(ON_MACHINES, ON_MACHINES).observed(next(first_states(tuple("HHH"))))
    known = observed.pki.trust["ca"]
    hosts = {}
    for host in spec.hosts:
        path = layout_of(spec, host).ca()
        file = FileSeen(path, "other" if host.name == changed else known, 0o644, "root:etcd")
        seen = observed.reachable()[host.name]
        hosts[host.name] = replace(seen, files={path: file}, pki_change=CHANGE)
    return replace(observed, hosts=hosts, pki=replace(observed.pki, changes=(CHANGE,)))


@pytest.mark.parametrize("spec", [ON_MACHINES, ON_ONE_MACHINE], ids=["machines", "one machine"])
def test_a_changed_ca_file_is_found_by_the_files_of_the_other_hosts(spec: Spec) -> None:
    observed = observe(spec, "infra2")
    refused = {name: refuse_changed_ca(spec, seen, observed) for name, seen in observed.reachable().items()}
    assert [each.host for each in refused.pop("infra2")] == ["infra2"]
    assert not any(refused.values())
