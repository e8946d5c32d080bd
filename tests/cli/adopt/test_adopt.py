"""`etcdup adopt`: its screens and its JSON, and how it is called."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from etcdup.cli.adopt.adopt import inspect_cluster
from etcdup.cli.verbs.setup import adopt
from etcdup.cli.views.adopt_view import adopt_json, render_lists, render_members, render_refused
from etcdup.cli.views.text import Paint
from etcdup.cli.views.to_tls_view import render_state, to_tls_json
from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import member_of
from etcdup.core.adopt.refusals import refuse_unnamed
from etcdup.core.adopt.to_tls import ToTls, next_step
from etcdup.core.adopt.to_tls_script import script_of
from etcdup.errors import EXIT_USAGE, UsageError
from tests.cli.conftest import Etcdup
from tests.cli.golden import assert_golden, assert_golden_json
from tests.support.adopt_shapes import GUIDE, NOW, inspected
from tests.support.plain_clusters import AS_FLAGS, done, plain
from tests.support.texts import Texts

PLAIN = Paint()
CONTAINER = replace(plain(AS_FLAGS)[0].process, container="/docker/0a0a")


def test_the_screen_of_the_cluster_of_the_guide() -> None:
    members = [member_of(each) for each in inspected(GUIDE)]
    made = draft(members, Wanted("prod", "root"), NOW)
    assert isinstance(made, Draft)
    assert_golden(
        "adopt-guide.txt", f"{render_members(members, PLAIN)}\n{render_lists(made, PLAIN, 100)}\n{made.text}"
    )
    assert_golden_json("adopt.json", adopt_json(members, made, ()))


def test_the_screen_of_members_that_were_not_named() -> None:
    members = [member_of(each) for each in inspected(GUIDE)[:1]]
    refused = refuse_unnamed(members)
    assert_golden(
        "adopt-refused.txt", f"{render_members(members, PLAIN)}\n{render_refused(refused, PLAIN, 100)}"
    )
    assert_golden_json("adopt-refused.json", adopt_json(members, None, refused))


def test_the_screens_of_a_cluster_with_plain_http() -> None:
    seen = plain(AS_FLAGS)
    shown = []
    while True:
        members = [member_of(each) for each in seen]
        found = next_step(members, NOW)
        assert isinstance(found, ToTls)
        shown.append(render_state(members, found, 100))
        if found.step == "done":
            break
        seen = done(seen, found.left[0])
    assert_golden("adopt-to-tls.txt", "\n".join(shown))
    members = [member_of(each) for each in plain(AS_FLAGS)]
    found = next_step(members, NOW)
    assert isinstance(found, ToTls)
    assert_golden_json(
        "adopt-to-tls.json", to_tls_json(members, found, script_of(found, members, "root"), ())
    )
    members[0] = replace(members[0], inspected=replace(members[0].inspected, process=CONTAINER))
    refused = next_step(members, NOW)
    assert isinstance(refused, tuple)
    assert_golden_json("adopt-to-tls-refused.json", to_tls_json(members, None, "", refused))


def test_without_a_host_the_usage_is_wrong(texts: Texts) -> None:
    with pytest.raises(UsageError) as error:
        inspect_cluster([], name="", user="root", as_json=False)
    assert error.value.exit_code == EXIT_USAGE
    texts(error.value)


@pytest.mark.parametrize(
    "words", [["10.0.0.1"], ["10.0.0.1", "--dry-run"], ["--give-back", "infra1"], ["--release"]]
)
def test_only_a_take_over_moves_manifests(texts: Texts, words: list[str]) -> None:
    error = CliRunner().invoke(adopt, ["--static-pods", *words]).exception
    assert isinstance(error, UsageError)
    texts(error)


@pytest.mark.parametrize(
    "words",
    [["--dry-run"], ["--take-over"], ["--give-back"], ["--release"], ["--name", "prod"], ["--with-ca-key"]],
)
def test_the_commands_for_https_accept_no_other_option(words: list[str]) -> None:
    error = CliRunner().invoke(adopt, ["10.0.0.1", "--to-tls", *words]).exception
    assert isinstance(error, UsageError)


def test_only_a_take_over_ends_http(texts: Texts) -> None:
    error = CliRunner().invoke(adopt, ["10.0.0.1", "--consumers-have", "tls"]).exception
    assert isinstance(error, UsageError)
    texts(error)


@pytest.mark.parametrize("host", ["https://10.0.0.1:2379", "root@10.0.0.1", "-oProxyCommand=x", "a b", ""])
def test_an_argument_that_is_no_host_is_wrong_usage(host: str) -> None:
    with pytest.raises(UsageError):
        inspect_cluster([host], name="", user="root", as_json=False)


def test_a_host_that_is_not_reachable_is_a_failure(etcdup: Etcdup) -> None:
    done = etcdup("adopt", "127.77.31.9", "--dry-run", "--user", "root")
    assert done.returncode == 1, done.stderr
    assert "127.77.31.9" in done.stderr
    assert "hint:" in done.stderr
    assert done.stdout == ""
