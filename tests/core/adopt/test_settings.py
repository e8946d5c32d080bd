"""The settings of a process: the precedence of flags, variables and the configuration file is that of etcd."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.adopt.config_file import config_settings
from etcdup.core.adopt.model import ConfigFile, Process, Unreadable
from etcdup.core.adopt.settings import BOOLEAN, Setting, is_on, number_of, settings_of_process
from etcdup.core.adopt.values import retention_seconds
from etcdup.core.spec.server_flags import flags_of

PROCESS = Process(800, "/usr/bin/etcd", "/", "root", 0, ("etcd",))
SERIES = (3, 6)
FLAGS = sorted(flags_of(SERIES) - {"config-file"})
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)


def variable(flag: str) -> str:
    return "ETCD_" + flag.upper().replace("-", "_")


@st.composite
def arguments(draw: st.DrawFn) -> tuple[list[str], dict[str, str]]:
    """Return arguments that etcd accepts, and the value of each flag."""
    words: list[str] = []
    values: dict[str, str] = {}
    for flag in draw(st.lists(st.sampled_from(FLAGS), max_size=8)):
        dashes = draw(st.sampled_from(("-", "--")))
        value = draw(st.sampled_from(("true", "false", "1", "F")) if flag in BOOLEAN else VALUES)
        if flag in BOOLEAN and draw(st.booleans()):
            words.append(f"{dashes}{flag}")
            values[flag] = "true"
        elif flag in BOOLEAN or draw(st.booleans()):
            words.append(f"{dashes}{flag}={value}")
            values[flag] = value
        else:
            words += [f"{dashes}{flag}", value]
            values[flag] = value
    return words, values


VARIABLES = st.dictionaries(st.sampled_from(FLAGS), VALUES, max_size=8)


@given(arguments(), VARIABLES)
def test_a_flag_excludes_its_variable_and_an_empty_variable_is_none(
    given_flags: tuple[list[str], dict[str, str]], others: dict[str, str]
) -> None:
    words, flags = given_flags
    variables = {variable(flag): value for flag, value in others.items()} | {
        "ETCD_NO_SUCH": "1",
        "PATH": "/bin",
    }
    found = settings_of_process(replace(PROCESS, argv=("etcd", *words), variables=variables), SERIES)
    expected = {flag: Setting(value, "environment") for flag, value in others.items() if value}
    assert found == expected | {flag: Setting(value, "flag") for flag, value in flags.items()}


SCALARS = st.one_of(st.booleans(), st.integers(0, 1 << 62), st.text("abc/:.,=", min_size=1, max_size=9))


@given(
    st.dictionaries(
        st.sampled_from(("name", "data-dir", "quota-backend-bytes", "snapshot-count", "metrics")), SCALARS
    ),
    arguments(),
    VARIABLES,
    st.booleans(),
)
def test_a_configuration_file_excludes_flags_and_variables(
    data: dict[str, Any],
    given_flags: tuple[list[str], dict[str, str]],
    others: dict[str, str],
    by_flag: bool,
) -> None:
    words = [*given_flags[0], *(["--config-file=/etc/etcd/etcd.conf.yml"] if by_flag else [])]
    variables = {variable(flag): value for flag, value in others.items()}
    if not by_flag:
        variables["ETCD_CONFIG_FILE"] = "/etc/etcd/etcd.conf.yml"
    config = ConfigFile("/etc/etcd/etcd.conf.yml", 0, json.dumps(data))
    found = settings_of_process(
        replace(PROCESS, argv=("etcd", *words), variables=variables, config=config), SERIES
    )
    texts = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in data.items()
    }
    assert {flag: each.value for flag, each in found.items()} == texts
    assert {each.origin for each in found.values()} <= {"/etc/etcd/etcd.conf.yml"}


def test_the_sections_of_the_file_are_flags() -> None:
    text = """
Name: infra1
client-transport-security: {cert-file: /c, client-cert-auth: true, allowed-hostname: [a, b]}
peer-transport-security: {cert-file: /p, allowed-cn: peer, auto-tls: false}
socket-options: {reuse-port: true}
log-outputs: [stderr, /var/log/etcd.log]
grpc-keepalive-interval: 7200000000000
wal-dir: ''
snapshot-count: null
discovery-config: {token: x}
"""
    assert config_settings(text) == {
        "name": "infra1",
        "cert-file": "/c",
        "client-cert-auth": "true",
        "client-cert-allowed-hostname": "a,b",
        "peer-cert-file": "/p",
        "peer-cert-allowed-cn": "peer",
        "peer-auto-tls": "false",
        "socket-reuse-port": "true",
        "log-outputs": "stderr,/var/log/etcd.log",
        "grpc-keepalive-interval": "7200000000000ns",
    }


@pytest.mark.parametrize("text", ["", "- a", "a: [", "peer-transport-security: 1", "a: 1\na: 2", "{" * 5000])
def test_a_file_that_etcd_does_not_read_is_not_readable(text: str) -> None:
    with pytest.raises(Unreadable):
        config_settings(text)


@pytest.mark.parametrize(
    "argv", [("etcd", "start"), ("etcd", "--name"), ("etcd", "--"), ("etcd", "--debug", "true")]
)
def test_arguments_that_etcd_does_not_accept_are_not_readable(argv: tuple[str, ...]) -> None:
    with pytest.raises(Unreadable):
        settings_of_process(replace(PROCESS, argv=argv))


def test_a_configuration_file_that_is_gone_is_not_readable() -> None:
    with pytest.raises(Unreadable):
        settings_of_process(replace(PROCESS, variables={"ETCD_CONFIG_FILE": "/gone"}))


def test_a_variable_counts_only_if_the_version_has_its_flag() -> None:
    process = replace(PROCESS, variables={"ETCD_ENABLE_V2": "true"})
    assert "enable-v2" in settings_of_process(process, (3, 5))
    assert "enable-v2" not in settings_of_process(process, (3, 6))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("8", 28800), ("24h", 86400), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400)],
)
def test_the_retention_of_compaction(text: str, seconds: int) -> None:
    assert retention_seconds(text) == seconds


@given(st.text())
def test_any_value_is_read_or_not_readable(text: str) -> None:
    settings = {"quota-backend-bytes": Setting(text, "flag")}
    for read in (
        lambda: is_on(settings, "quota-backend-bytes"),
        lambda: number_of(settings, "quota-backend-bytes", 0),
        lambda: retention_seconds(text),
        lambda: config_settings(text),
    ):
        with suppress(Unreadable):
            read()
