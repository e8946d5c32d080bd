"""The flags of each series are those of the real programs."""

import subprocess

import pytest

from etcdup.core.spec.server_flags import flags_of, unknown_flag_hint
from etcdup.core.spec.version import parse_version
from tests.support.etcd_binaries import etcd_binaries, why_not

VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")
# The help names these, and the programs do not take them.
ONLY_IN_HELP = {"help", "user", "discovery", "discovery-proxy"}


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_program_lists_no_other_flags(version: str) -> None:
    if reason := why_not(version):
        pytest.skip(reason)
    program = etcd_binaries(version) / "etcd"
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=30, check=False)
    words = (done.stdout + done.stderr).split()
    listed = {word.removeprefix("--") for word in words if word.startswith("--")}
    flags = flags_of(parse_version(version).series)
    assert listed
    assert {flag for flag in listed if flag.replace("-", "").isalnum()} - flags <= ONLY_IN_HELP


def test_a_renamed_flag_has_a_hint_in_both_directions() -> None:
    old, new = "experimental-compaction-batch-limit", "compaction-batch-limit"
    assert unknown_flag_hint(old, (3, 7)) == f"write `{new}`"
    assert unknown_flag_hint(new, (3, 5)) == f"write `{old}`"
    assert unknown_flag_hint(new, (3, 6)) is None


def test_an_unknown_series_has_no_list() -> None:
    assert unknown_flag_hint("any", (3, 9)) is None
