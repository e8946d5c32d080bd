"""No value adds a setting, a line or a command to a file that systemd or sh reads, wherever the value came from."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.cli.apply.plan import read_plan
from etcdup.core.host.actions import WriteFiles
from etcdup.core.host.commands import form_commands, join_commands
from etcdup.core.host.content import TextContent
from etcdup.core.host.settings import settings_of, show_settings
from etcdup.core.host.unit import start_script, unit_text
from etcdup.core.observed.member import ListedMember
from etcdup.core.plan.plan import Plan, plan_to_json
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.plain_value import UnsafeValue, environment_line, is_member_url
from etcdup.errors import BadFile
from tests.support.fake_world import TOKEN, spec_of

SPEC = spec_of(3)
HOST = SPEC.hosts[0]
LAYOUT = layout_of(SPEC, HOST)
INJECTIONS = [
    f'{TOKEN}"\nETCD_CLIENT_CERT_AUTH="false',
    f"{TOKEN}\nLD_PRELOAD=/x",
    f"{TOKEN}$(id)",
    f"{TOKEN}`id`",
    f"{TOKEN}\\",
    f"{TOKEN}'; id; '",
    f"{TOKEN}%h",
    f"{TOKEN}\x1b[2J",
    f"{TOKEN}\x85x",
    f"{TOKEN}\u2028x",
]


def written(actions: object) -> str:
    files = [each for act in actions if isinstance(act, WriteFiles) for each in act.files]  # type: ignore[attr-defined]
    return "".join(each.content.text for each in files if isinstance(each.content, TextContent))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_sh_reads_the_value_that_was_written(value: str) -> None:
    try:
        line = environment_line("ETCD_X", value)
    except UnsafeValue:
        return
    assert line == f'ETCD_X="{value}"\n'
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\\$`'%]", value)


@pytest.mark.parametrize("value", ["a b", "a=b,c=https://[::1]:2380", "é", "x" * 200])
def test_sh_itself_agrees(value: str) -> None:
    script = environment_line("ETCD_X", value) + 'printf %s "$ETCD_X"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode() == value


@pytest.mark.parametrize("token", INJECTIONS)
def test_a_token_is_refused_by_every_writer(token: str) -> None:
    with pytest.raises(UnsafeValue):
        show_settings(settings_of(SPEC, HOST, LAYOUT, token, peer_common_name=None, trust=""))
    with pytest.raises(UnsafeValue):
        list(form_commands(SPEC, HOST, token))


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_name_of_the_member_list_is_refused(name: str) -> None:
    listed = ListedMember(1, name, ("https://192.168.8.67:2380",), (), False)
    with pytest.raises(UnsafeValue):
        list(join_commands(SPEC, HOST, (listed,)))
    good = ListedMember(1, "infra2", ("https://192.168.8.67:2380",), (), False)
    assert "infra2=https://192.168.8.67:2380" in written(join_commands(SPEC, HOST, (good,)))


@pytest.mark.parametrize(
    "folder", ["/x&id>y&", "/x;id", "/x y", "/x\n[Service]\nUser=root", "/x$(id)", "/x%h", "/x|y"]
)
def test_a_folder_is_refused_in_cluster_yaml_and_by_the_writers(folder: str) -> None:
    with pytest.raises(BadFile):
        spec_of(3, more=f"etcd: {{data_dir: {json.dumps(folder)}}}\n")
    spec = SPEC.model_copy(update={"etcd": SPEC.etcd.model_copy(update={"data_dir": folder})})
    with pytest.raises(UnsafeValue):
        unit_text("prod", "infra1", layout_of(spec, HOST))
    local = HOST.model_copy(update={"root": folder, "local": True})
    with pytest.raises(UnsafeValue):
        start_script(layout_of(SPEC, local))


@pytest.mark.parametrize("token", [*INJECTIONS, "", "../x", 7, None])
def test_the_token_of_a_saved_plan_is_a_word(token: object, tmp_path: Path) -> None:
    """The token of a saved plan is written into the settings of all members."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_to_json(Plan("prod", (), (), TOKEN)) | {"token": token}))
    with pytest.raises(BadFile):
        read_plan(path, "prod")
    path.write_text("[" * 100_000)
    with pytest.raises(BadFile):
        read_plan(path, "prod")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_a_url_of_a_member_has_a_host_and_a_port(text: str) -> None:
    for url in (text, f"https://{text}:2380", f"https://h:{text}", f"https://[{text}"):
        if is_member_url(url):
            assert re.fullmatch(r"(https?|unixs?)://[A-Za-z0-9._:\[\]-]+", url)
