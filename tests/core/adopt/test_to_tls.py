"""`adopt --to-tls`: the steps of a cluster with plain http, from each state, and what is refused."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import Member, member_of, plain_client_urls
from etcdup.core.adopt.model import ConfigFile, Inspected, StaticPod
from etcdup.core.adopt.refusals import refuse_host
from etcdup.core.adopt.to_tls import CERT, ToTls, next_step
from etcdup.core.adopt.to_tls_script import script_of
from tests.support.adopt_shapes import GUIDE, KUBEASZ, NOW, Shape, inspected
from tests.support.plain_clusters import (
    AS_FLAGS,
    AS_VARIABLES,
    FLAGS,
    NAMES,
    done,
    plain,
    step_of,
    with_http,
    with_pid,
)
from tests.support.texts import Texts


def members_of(seen: Sequence[Inspected]) -> list[Member]:
    return [member_of(each) for each in seen]


def steps_to_end(seen: Sequence[Inspected]) -> tuple[list[str], list[Inspected]]:
    """Do one member of each step after the other, until nothing is left."""
    names, seen = [], list(seen)
    while (found := step_of(seen)).step != "done":
        names.append(f"{found.step} {found.left[0].member.name}")
        seen = done(seen, found.left[0])
        assert len(names) < 12, names
    return names, seen


ALL = [f"{step} {name}" for step in ("restart", "add", "remove") for name in NAMES]


@pytest.mark.parametrize("shape", [AS_FLAGS, AS_VARIABLES])
@pytest.mark.parametrize(
    ("version", "port"),
    [
        ("3.4.23", 2383), ("3.4.25", 2379), ("3.5.7", 2383), ("3.5.8", 2379), ("3.5.33", 2379), ("3.6.0", 2379),
        ("3.7.1", 2379),
    ],
)  # fmt: skip
def test_each_member_restarts_once_and_then_the_member_list_changes(
    shape: Shape, version: str, port: int
) -> None:
    names, seen = steps_to_end(plain(shape, version))
    assert names == ALL
    for number, member in enumerate(members_of(seen), 1):
        assert member.listed.peer_urls == (f"https://10.0.0.{number}:2382",)
        assert any(url.scheme == "http" for url in member.urls("listen-client-urls"))
        assert any(url.scheme == "http" for url in member.urls("listen-peer-urls"))
    made = draft(members_of(seen), Wanted("prod", "root"), NOW)
    assert isinstance(made, Draft), made
    assert (made.spec.etcd.peer_port, made.spec.etcd.client_port) == (2382, port)


def test_no_setting_is_a_flag_and_a_variable() -> None:
    """etcd does not start with both."""
    for shape in (AS_FLAGS, AS_VARIABLES):
        step = step_of(plain(shape)).left[0]
        assert step.flags
        assert not any(each.partition("=")[0].removeprefix("--") in step.flags for each in step.arguments)
        assert step.changes_arguments == (shape is AS_FLAGS)


def test_a_member_that_lost_its_drop_in_restarts_again() -> None:
    """Its peer URLs are https only, so no other member could connect to it."""
    before = plain(AS_FLAGS)
    _, seen = steps_to_end(before)
    lost = [replace(seen[0], process=before[0].process), *seen[1:]]
    found = step_of(lost)
    assert (found.step, found.left[0].member.name) == ("restart", "infra1")
    assert "https://10.0.0.1:2382" in found.left[0].flags["listen-peer-urls"]


def test_a_port_that_a_member_uses_is_not_taken() -> None:
    shape = replace(AS_FLAGS, argv=f"{FLAGS} --listen-metrics-urls=http://@IP:2383")
    flags = step_of(plain(shape)).left[0].flags
    assert flags["listen-peer-urls"].endswith("https://10.0.0.1:2384")


def test_https_for_clients_stays_as_it_is() -> None:
    """Only the peers of such a cluster have http."""
    argv = KUBEASZ.argv.replace("listen-peer-urls=https", "listen-peer-urls=http")
    argv = " ".join(word for word in argv.split() if not word.startswith("--peer-"))
    seen = [
        replace(each, certs={})
        for each in inspected(replace(KUBEASZ, argv=argv, version="3.6.14", names=NAMES))
    ]
    listed = tuple(replace(each, peer_urls=with_http(each).peer_urls) for each in seen[0].answer.members)
    seen = [with_pid(replace(each, answer=replace(each.answer, members=listed))) for each in seen]
    assert "listen-client-urls" not in step_of(seen).left[0].flags
    names, after = steps_to_end(seen)
    assert names == ALL
    assert all(each.path("cert-file") != CERT for each in members_of(after))


def test_a_clusterwith_https_has_nothing_to_do() -> None:
    assert step_of([with_pid(each) for each in inspected(GUIDE)]).step == "done"


def test_only_listeners_for_other_hosts_end_for_clients() -> None:
    """A take-over needs a confirmation for them. Programs of the host itself are in the list of the draft."""
    found = [plain_client_urls(members_of(plain(each))[0].settings) for each in (AS_FLAGS, AS_VARIABLES)]
    assert found == [("http://10.0.0.1:2379",), ("http://0.0.0.0:2379",)]
    assert not plain_client_urls(members_of(inspected(KUBEASZ))[0].settings)
    assert not plain_client_urls({})


def test_only_the_change_to_tls_permits_http_between_members() -> None:
    first = plain(AS_FLAGS)[0].first
    assert refuse_host(first)
    assert not refuse_host(first, to_tls=True)


def test_an_adoption_of_members_without_https_for_clients_is_refused(texts: Texts) -> None:
    argv = GUIDE.argv.replace("client-urls=https", "client-urls=http").replace(",https:", ",http:")
    refused = draft(members_of(inspected(replace(GUIDE, argv=argv))), Wanted("prod", "root"), NOW)
    assert not isinstance(refused, Draft)
    texts(refused)


def test_an_adoption_in_the_middle_of_the_change_is_refused(texts: Texts) -> None:
    seen = plain(AS_FLAGS)
    while (found := step_of(seen)).step != "remove":
        seen = done(seen, found.left[0])
    refused = draft(members_of(seen), Wanted("prod", "root"), NOW)
    assert not isinstance(refused, Draft)
    texts(refused[:1])


def with_process(**changes: object) -> Callable[[Inspected], Inspected]:
    return lambda seen: replace(seen, process=replace(seen.process, **changes))  # type: ignore[arg-type]


def with_property(name: str, value: str) -> Callable[[Inspected], Inspected]:
    def change(seen: Inspected) -> Inspected:
        unit = seen.process.unit
        assert unit is not None
        changed = replace(unit, properties={**unit.properties, name: value})
        return replace(seen, process=replace(seen.process, unit=changed))

    return change


def with_arguments(*words: str) -> Callable[[Inspected], Inspected]:
    return lambda seen: replace(seen, process=replace(seen.process, argv=(*seen.process.argv, *words)))


REFUSED: dict[str, Callable[[Inspected], Inspected]] = {
    "a container": with_process(container="/docker/0a0a"),
    "a static pod": with_process(pod=StaticPod("kubelet.service", ("/etc/kubernetes/manifests/etcd.yaml",))),
    "no unit": with_process(unit=None),
    "a wrapper": with_property("MainPID", "7"),
    "a unit that changed": with_property("NeedDaemonReload", "yes"),
    "a configuration file": with_process(config=ConfigFile("/etc/etcd/etcd.yaml", 0, "name: infra1")),
    "a replaced program": with_process(exe="/usr/local/bin/etcd (deleted)"),
    "a line break": with_arguments("--log-outputs=a\nExecStartPre=/bin/sh"),
    "a user with a space": with_process(user="a b"),
    "a peer certificate": with_arguments("--peer-cert-file=/etc/etcd/peer.pem"),
    "a URL with a command": with_arguments("--listen-metrics-urls=http://10.0.0.1:2381/$(reboot)"),
    "clients of the same host only": with_arguments("--listen-client-urls=http://127.0.0.1:2379"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_drop_in_can_change_is_refused(case: str, texts: Texts) -> None:
    seen = plain(AS_FLAGS)
    refused = next_step(members_of([REFUSED[case](seen[0]), *seen[1:]]), NOW)
    assert not isinstance(refused, ToTls)
    texts(refused)


@pytest.mark.parametrize("shape", [AS_FLAGS, AS_VARIABLES], ids=["flags", "variables"])
def test_the_scripts_of_each_step(shape: Shape, texts: Texts) -> None:
    seen = plain(shape)
    shown: set[str] = set()
    while (found := step_of(seen)).step != "done":
        script = script_of(found, members_of(seen), "admin")
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        if found.step not in shown:
            texts(script)
        shown.add(found.step)
        seen = done(seen, found.left[0])
    assert script_of(found, members_of(seen), "admin") == ""


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_an_argument_of_a_host_runs_no_command(text: str) -> None:
    """The operator runs the script: what a hostile host reports stays text in it."""
    seen = plain(AS_FLAGS)
    seen = [with_arguments(f"--log-level={text}")(seen[0]), *seen[1:]]
    script = script_of(step_of(seen), members_of(seen), "admin")
    _, _, part = script.partition("drop-in.new <<'END_OF_FILE'\n")
    lines = part.partition("END_OF_FILE\n")[0].splitlines()
    (command,) = [each for each in lines if each.startswith("ExecStart=") and each != "ExecStart="]
    assert words_of(command.removeprefix("ExecStart="))[-1] == f"--log-level={text}"
    harmless = with_arguments("--log-level=info")(plain(AS_FLAGS)[0])
    usual = script_of(step_of([harmless, *seen[1:]]), members_of([harmless, *seen[1:]]), "admin")
    assert script.replace(f'"--log-level={written(text)}"', '"--log-level=info"') == usual


def written(text: str) -> str:
    for character in ("\\", '"', "%", "$"):
        text = text.replace(character, character * 2 if character in "\\%$" else f"\\{character}")
    return text


def words_of(line: str) -> list[str]:
    """Return the words of an ExecStart line, as systemd reads them."""
    found, rest = [], line
    while rest:
        assert rest[0] == '"'
        word, at = "", 1
        while rest[at] != '"':
            if rest[at] == "\\" or rest[at : at + 2] in ("%%", "$$"):
                at += 1
            else:
                assert rest[at] not in "%$"
            word, at = word + rest[at], at + 1
        found.append(word)
        rest = rest[at + 1 :].removeprefix(" ")
    return found
