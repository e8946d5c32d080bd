"""One address in the text of cluster.yaml changes, and no other character."""

import pytest

from etcdup.core.spec.edit import machine_bindings, with_address
from etcdup.core.spec.load import load

BEFORE = """\
# our cluster
name: prod
version: 3.6.14
hosts:  # three
  - {name: infra1, address: 10.0.0.1}
%s
  - {name: infra3, address: 10.0.0.3}
etcd: {quota: 4GiB}   # more
"""
STYLES = {
    "flow": "  - {name: infra2, address: OLD}  # rack 2",
    "flow, address first": "  - {address: OLD, name: infra2, zone: b}",
    "flow without a space at the end": "  - {name: infra2, client_port: 2479, address: OLD }",
    "block": "  - name: infra2\n    address: OLD   # rack 2\n    zone: b",
    "single quotes": "  - {name: infra2, address: 'OLD'}",
    "double quotes": '  - name: "infra2"\n    address: "OLD"',
}


@pytest.mark.parametrize("style", STYLES)
def test_only_the_address_changes(style: str) -> None:
    text = BEFORE % STYLES[style].replace("OLD", "10.0.0.2")
    edited = with_address(text, "infra2", "10.20.30.40")
    assert edited == BEFORE % STYLES[style].replace("OLD", "10.20.30.40")
    assert load(edited).host("infra2").address == "10.20.30.40"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("address", ["2001:db8::2", "2001:db8::"])
def test_an_address_that_yaml_would_misread_is_quoted(style: str, address: str) -> None:
    text = BEFORE % STYLES[style].replace("OLD", "10.0.0.2")
    edited = with_address(text, "infra2", address)
    assert edited is not None
    assert load(edited).host("infra2").address == address


@pytest.mark.parametrize("text", [BEFORE.replace("\n", "\r\n"), "\ufeff" + BEFORE])
def test_line_ends_and_a_bom_stay(text: str) -> None:
    edited = with_address(text % STYLES["flow"].replace("OLD", "10.0.0.2"), "infra2", "10.0.0.22")
    assert edited == text % STYLES["flow"].replace("OLD", "10.0.0.22")


@pytest.mark.parametrize("value", [">-\n      10.0.0.2", "|-\n      10.0.0.2", '"10.0\\\n      .0.2"'])
def test_an_address_that_cannot_be_edited_safely_is_not_edited(value: str) -> None:
    text = BEFORE % f"  - name: infra2\n    address: {value}"
    assert load(text).host("infra2").address == "10.0.0.2"
    assert with_address(text, "infra2", "10.0.0.22") is None


def test_keys_of_the_old_machine_are_reported_with_their_position() -> None:
    text = BEFORE % "  - {name: infra2, address: 10.0.0.2, ssh_address: old, listen_address: 10.1.0.2}"
    found = machine_bindings(text, load(text), "infra2")
    assert [(each.line, each.message) for each in found] == [
        (6, "`ssh_address: old` of infra2 may belong to the old machine"),
        (6, "`listen_address: 10.1.0.2` of infra2 may belong to the old machine"),
    ]
    assert [each.column for each in found] == [39, 57]
    assert machine_bindings(text, load(text), "infra1") == ()
    each = BEFORE % "  - {name: infra2, address: 10.0.0.2, listen_address: '::'}"
    assert machine_bindings(each, load(each), "infra2") == (), "every machine has `::`"
