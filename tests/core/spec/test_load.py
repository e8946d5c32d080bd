"""Loading of cluster.yaml: a wrong file gives all its problems, a good file its values, no text a traceback.

The cases are files. A wrong file begins with all its expected problems, as comments: `# line:column: message`, with the
hint indented below. A good file begins with `# path = value` lines and with its warnings.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcdup.core.spec.load import load, load_bytes
from etcdup.core.spec.model import Spec, TlsSpec
from etcdup.core.spec.template import EXAMPLE_HOSTS, cluster_yaml
from etcdup.core.spec.version import NEWEST
from etcdup.core.spec.warnings import warnings
from etcdup.errors import BadFile, Problem
from tests.support.texts import Texts

CASES = Path(__file__).parent / "cases"
BAD = sorted((CASES / "bad_files").glob("*.yaml"))
GOOD = sorted((CASES / "good_files").glob("*.yaml"))


def problem_lines(problem: Problem) -> list[str]:
    hint = [f"#     {problem.hint}"] if problem.hint else []
    return [f"# {problem.line}:{problem.column}: {problem.message}", *hint]


def heading_lines(data: bytes) -> list[str]:
    """Return the comment lines at the beginning of a case."""
    lines = data.decode("utf-8-sig", errors="replace").splitlines()
    return lines[: next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))]


def spec_value(spec: Spec, path: str) -> str:
    """Return the value at `etcd.quota` or `hosts.0.address`, or of the method `endpoints` or `peer_url 0` (host 0)."""
    path, _, index = path.partition(" ")
    found: object = spec
    for part in path.split("."):
        if isinstance(found, tuple):
            found = found[int(part)]
        else:
            found = found[part] if isinstance(found, dict) else getattr(found, part)
    if callable(found):
        found = found(spec.hosts[int(index)]) if index else found()
    return str(found)


@pytest.mark.parametrize("case", BAD, ids=lambda path: path.stem)
def test_a_wrong_file_gives_exactly_these_problems(case: Path) -> None:
    data = case.read_bytes()
    with pytest.raises(BadFile) as caught:
        load_bytes(data, "prod.yaml")
    assert [line for problem in caught.value.problems for line in problem_lines(problem)] == heading_lines(
        data
    )


@pytest.mark.parametrize("case", GOOD, ids=lambda path: path.stem)
def test_a_good_file_gives_exactly_these_values_and_warnings(case: Path) -> None:
    data = case.read_bytes()
    spec = load_bytes(data)
    expected = [line.removeprefix("# ").split(" = ", 1) for line in heading_lines(data) if " = " in line]
    found = [[path, spec_value(spec, path)] for path, _ in expected if path != "warning"]
    assert found + [["warning", each] for each in warnings(spec)] == expected


def test_a_problem_has_the_name_of_the_file() -> None:
    with pytest.raises(BadFile) as caught:
        load("name: prod\nversion: 3.6\nhosts: [{name: a, address: 10.0.0.1}]\n", "clusters/prod.yaml")
    assert caught.value.lines() == [
        "clusters/prod.yaml:2:10: version: `3.6` is a minor version without a patch number",
        "    write major, minor and patch, for example 3.6.14",
    ]


def test_a_secret_in_a_url_is_not_shown() -> None:
    with pytest.raises(BadFile) as caught:
        load_bytes((CASES / "bad_files" / "backup_credentials.yaml").read_bytes())
    assert "secret@" not in str(caught.value) + caught.value.detail


def test_an_empty_file_is_a_problem_of_the_whole_file() -> None:
    with pytest.raises(BadFile) as caught:
        load("")
    assert caught.value.lines()[0] == "cluster.yaml: the file is empty"


@pytest.mark.slow
def test_deeply_nested_brackets_are_rejected() -> None:
    for text in ("[" * 100_000, "{a: " * 5_000, "- " * 100_000):
        with pytest.raises(BadFile):
            load(text)


@pytest.mark.parametrize("version", [str(version) for version in NEWEST.values()])
@pytest.mark.parametrize(
    "hosts",
    [
        (),
        (("infra1", "10.0.0.1"),),
        (("1", "2001:db8::1"), ("true", "10.0.0.2"), ("1e3", "10.0.0.3")),
    ],
)
def test_the_file_of_init_loads_without_warnings(
    texts: Texts, version: str, hosts: tuple[tuple[str, str], ...]
) -> None:
    spec = load(cluster_yaml("on", hosts, version, ssh_user="me", identity_file="~/.ssh/my key"))
    assert (spec.name, str(spec.version)) == ("on", version)
    assert [(host.name, host.address) for host in spec.hosts] == list(hosts or EXAMPLE_HOSTS)
    assert (spec.ssh.user, spec.ssh.identity_file, spec.ssh.sudo) == ("me", "~/.ssh/my key", True)
    texts(warnings(spec))


def test_the_file_of_init_contains_only_defaults() -> None:
    """The comments in the file describe the defaults. They would be wrong if a default changed."""
    spec = load(cluster_yaml("prod", (), "3.6.14", ssh_user=None))
    minimal = load(
        "name: prod\nversion: 3.6.14\nhosts:\n"
        + "".join(f"- {{name: {n}, address: {a}}}\n" for n, a in EXAMPLE_HOSTS)
    )
    assert spec == minimal
    assert spec.tls == TlsSpec()


SEEDS = [path.read_text(encoding="utf-8", errors="replace") for path in (*GOOD, *BAD)]
FRAGMENTS = st.one_of(
    st.sampled_from(
        [
            "\t",
            "  ",
            "- ",
            ": ",
            "{",
            "}",
            "[",
            "]",
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "? ",
            "| ",
            "'",
            '"',
            "\n",
        ]
    ),
    st.sampled_from(
        ["null", "~", "-1", "1e999", ".nan", "0x1f", "2024-01-01", "9" * 5000, "%YAML 1.1\n---\n", "---\n"]
    ),
    st.text(max_size=5),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return a case with some parts removed, doubled or replaced."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        middle = draw(st.one_of(FRAGMENTS, st.just(text[start:end] * 2)))
        text = text[:start] + middle + text[end:]
    return text


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(mutated())
def test_any_text_gives_a_spec_or_problems_with_positions(text: str) -> None:
    lines = len(text.splitlines()) + 1
    try:
        spec = load(text)
    except BadFile as error:
        problems = error.problems
    else:
        assert spec.size in (1, 3, 5, 7)
        assert all(isinstance(each, str) for each in warnings(spec))
        return
    assert problems
    assert all(0 <= problem.line <= lines and problem.message for problem in problems)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_problems(data: bytes) -> None:
    with pytest.raises(BadFile):
        load_bytes(data)
