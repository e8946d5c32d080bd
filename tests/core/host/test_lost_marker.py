"""A deleted marker: what starts etcd on the host shows that the data is of this member, with systemd and without it."""

from dataclasses import replace

import pytest

from etcdup.core.host.host_case import HostCase
from etcdup.core.host.machine_faults import refuse_foreign_data
from etcdup.core.host.unit import start_script, unit_text
from etcdup.core.observed.directory import DirSeen, FileSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.testing.network import FakeNetwork
from etcdup.testing.probe import run_probe
from tests.support.fake_world import spec_of
from tests.support.texts import Texts

LOCAL = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 127.77.1.1, local: true, root: /srv/demo/infra1}
  - {name: infra2, address: 127.77.1.2, local: true, root: /srv/demo/infra2}
  - {name: infra3, address: 127.77.1.3, local: true, root: /srv/demo/infra3}
"""
SYSTEMD_SPEC, LOCAL_SPEC = spec_of(3), load(LOCAL)


def case_of(spec: Spec, unit: str, conf: str = "") -> HostCase:
    """Return infra1 with data of a member, this file that starts it, and these settings, but without a marker."""
    host, machines = spec.hosts[0], spec_of(3)
    usual = layout_of(machines, machines.hosts[0])
    output = run_probe(FakeNetwork().add("infra1"), probe_argv(usual, (), ())[4:])
    seen: HostSeen = parse_probe("infra1", output, usual, 0.0, 0.0)
    layout = layout_of(spec, host)
    texts = {layout.unit: unit, **({layout.conf: conf} if conf else {})}
    files = {path: FileSeen(path, "", 0o644, "root:root", text) for path, text in texts.items()}
    data = DirSeen(layout.data_dir, ("member",), "etcd:etcd", 0o700, has_wal=True)
    return HostCase(spec, host, replace(seen, data=data, files=files, systemd=not host.root))


OWN_UNIT = unit_text("prod", "infra1", layout_of(SYSTEMD_SPEC, SYSTEMD_SPEC.hosts[0]))
OWN_SCRIPT = start_script(layout_of(LOCAL_SPEC, LOCAL_SPEC.hosts[0]))


@pytest.mark.parametrize(
    ("spec", "unit", "conf"),
    [
        (SYSTEMD_SPEC, OWN_UNIT, ""),
        (LOCAL_SPEC, OWN_SCRIPT, ""),
        (LOCAL_SPEC, OWN_SCRIPT, 'ETCD_NAME="infra1"\n'),
    ],
    ids=["unit", "script", "script and settings"],
)
def test_a_deleted_marker_is_named(spec: Spec, unit: str, conf: str, texts: Texts) -> None:
    (refused,) = refuse_foreign_data(case_of(spec, unit, conf))
    texts(refused)


@pytest.mark.parametrize(
    ("spec", "unit", "conf"),
    [
        (SYSTEMD_SPEC, OWN_UNIT.replace("infra1", "infra9"), ""),
        (SYSTEMD_SPEC, "[Service]\n", ""),
        (LOCAL_SPEC, "#!/bin/sh\nexec etcd\n", ""),
        (LOCAL_SPEC, OWN_SCRIPT, 'ETCD_NAME="infra9"\n'),
    ],
    ids=["unit of another member", "another unit", "another script", "settings of another member"],
)
def test_data_of_another_etcd_stays_foreign(spec: Spec, unit: str, conf: str, texts: Texts) -> None:
    (refused,) = refuse_foreign_data(case_of(spec, unit, conf))
    texts(refused)
