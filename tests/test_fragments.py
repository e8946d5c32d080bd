"""No test asserts a part of a message. A message is asserted whole, in a golden file (tests/support/texts.py)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.texts import read_sections

TESTS = Path(__file__).parent
# The other folders run programs, etcd and real hosts. What these print is part of the output.
FOLDERS = ("cli", "clients", "core", "flows", "hostile", "lab", "local", "ops", "remote")
# Attributes of errors, refusals, findings and notes.
TEXTS = frozenset({"message", "hint", "detail", "what", "why", "fix", "problem"})
# Two words are a part of a message, wherever a test searches them. One word is a name, an option or a code.
WORDS = re.compile(r"[A-Za-z]{2,}[,:.]? [a-z]{2,}")
# etcd and the operating system write the texts of these errors.
FOREIGN = frozenset({"EtcdRefused", "OSError", "ConnectionResetError"})

# The test, and why a part of a text is the proof.
ALLOWED = {
    "cli/access/test_etcd_access.py::test_each_verb_works_with_the_password": "each version of etcd has its own text",
    "cli/access/test_etcd_access.py::test_the_user_of_the_file_counts_also_if_the_certificate_has_the_rights": (
        "each version of etcd has its own text"
    ),
    "cli/certs/test_certs.py::test_each_certificate_is_listed_with_all_its_locations": "a field of the JSON",
    "cli/maintain/test_other_programs.py::read_slowly": "a line of the progress",
    "cli/maintain/test_other_programs.py::test_a_snapshot_that_another_program_reads_slowly_is_waited_for": (
        "a line of the progress"
    ),
    "cli/restore/test_salvage.py::test_the_data_of_a_stopped_member_is_read_from_its_disk": "the terms of this run",
    "cli/restore/test_salvage.py::test_uncommitted_entries_at_the_end_of_the_log_are_kept": "the terms of this run",
    "cli/run/test_progress.py::test_each_host_has_a_line_that_fits": "a column of the screen",
    "cli/run/test_progress.py::test_long_work_has_a_clock_that_fits": "the end of a line that is cut",
    "cli/setup/test_validate.py::test_init_without_openssh_proposes_the_user_of_this_machine": "a line of the file",
    "cli/status/test_broken_clusters.py::assert_promises": "it is true of all screens",
    "core/adopt/test_verbs.py::test_a_verb_that_waits_says_what_to_type": "the guide has the same commands",
    "core/adopt/test_verbs.py::test_the_guard_of_a_step_refuses_what_changes_a_host_that_waits": "for all steps",
    "core/adopt/test_containers.py::test_a_container_is_taken_over_with_the_data_where_the_host_has_it": "a script",
    "core/adopt/test_static_pods.py::test_a_static_pod_is_taken_over": "a script",
    "core/planner/test_repair.py::test_each_refusal_has_a_command": "it is true of all refusals",
    "core/verdict/test_quorum_state.py::test_a_quorum_is_lost_only_if_the_voters_that_are_not_observed_cannot_be_one": (
        "it is true of all states"
    ),
    "flows/test_take_over.py::repair": "the host that is lost",
    "hostile/test_adopt.py::test_a_copy_is_read_with_the_rights_of_the_process": "the secret",
    "hostile/test_adopt.py::test_what_a_host_sends_for_a_file_is_parsed_before_it_is_written": "escape sequences",
    "hostile/test_child_processes.py::test_a_command_that_prints_a_secret_is_bounded": "the secret",
    "lab/random_faults/faults.py::_end": "it is true of all screens",
    "lab/test_adopt.py::test_the_cluster_of_the_guide_is_drafted_and_nothing_changes": (
        "a command with the addresses of this run"
    ),
    "lab/test_adopt_to_tls.py::test_the_way_back_of_the_guide_ends_with_http": "core has the whole text",
    "lab/test_adopt_users.py::test_a_certificate_whose_name_is_a_user_needs_no_password": (
        "each version of etcd has its own text"
    ),
    "lab/test_bootstrap.py::test_three_members_with_certificates_of_another_ca": (
        "a reason that no restart may have"
    ),
    "lab/test_faults.py::recover_from_full_disk": "the sizes of this run",
    "lab/test_key_hygiene.py::test_no_key_is_in_any_output_file_or_command_line": "the output of all commands",
    "lab/test_kill_bootstrap.py::test_an_interrupted_apply_prints_the_next_command_and_frees_the_lock": (
        "the step at the interruption differs"
    ),
    "lab/test_kill_bootstrap.py::test_a_second_operator_is_refused_with_the_owner_of_the_lock": (
        "the line of the other run"
    ),
    "lab/test_kill_maintenance.py::test_a_killed_repair_and_a_killed_fix_space_are_finished": "etcd writes it",
    "lab/test_lab.py::test_a_slow_link_delays_both_directions_and_drops_packets": "ping writes it",
    "lab/test_lab.py::test_a_small_disk_is_filled_and_freed": "the operating system writes it",
    "lab/test_lab.py::test_host_keys_are_checked": "ssh writes it",
    "lab/test_lab.py::test_sudo_works_for_admin_needs_a_password_for_oper_and_refuses_nosudo": "sudo writes it",
    "lab/test_load_report.py::test_a_stale_read_is_a_fault": "a report of the tests",
    "lab/test_manual_changes.py::add_by_etcdctl": "etcd writes it",
    "lab/test_restore.py::assert_watcher_notices_restore": "etcd writes it",
    "lab/test_restore.py::restore_and_undo": "the stages of the hosts at the kill differ",
    "lab/test_rolling_restart.py::test_two_members_killed_at_once_are_reported": "a report of the tests",
    "lab/test_rotate_ca.py::check_old_client_stops_drop": "the address of this run",
    "lab/test_rotate_ca.py::test_a_client_that_keeps_its_connection_is_moved_before_the_old_ca_is_dropped": (
        "the lines after the times of this run"
    ),
    "lab/test_rotate_ca.py::test_renewal_and_rotation_lose_no_write_and_reject_no_client": (
        "the lines after the times of this run"
    ),
    "lab/test_start.py::test_a_member_that_fails_on_a_new_version_is_taken_back": "etcd writes it",
    "lab/test_start.py::test_apply_waits_for_a_network_that_is_late": "it has the time that systemd waits",
    "local/test_bbolt_check.py::test_a_page_of_another_kind_is_reported": "bbolt writes it",
    "local/test_etcd_connection.py::test_files_that_are_no_certificates": "the content of the file",
    "local/test_etcd_pki.py::test_the_operator_reads_and_writes_through_every_member": "etcd writes it",
    "local/test_etcd_users.py::test_a_login_that_fails_is_named": "etcd writes it",
    "local/test_etcd_users.py::test_with_users_the_gateway_accepts_only_certificates_without_a_name": "etcd writes it",
    "local/test_etcd_users.py::test_without_certificates_the_status_needs_a_user_too": "etcd writes it",
    "local/test_etcd_versions.py::test_3_5_removes_members_if_nothing_was_written_after_they_were_added": (
        "etcd writes it"
    ),
    "local/test_etcd_versions.py::test_v2_data_is_checked_while_a_member_writes": "etcdutl writes it",
    "local/test_rewind.py::test_a_file_of_a_revision_is_the_cluster_of_that_time": "the revisions of this run",
    "local/test_startup_fence.py::test_it_stays_down_and_says_why": "etcd prints other lines too",
    "local/test_v2_requests.py::test_3_7_panics_at_requests_of_3_5_until_the_log_is_proved": "etcd writes it",
    "ops/backups/test_backups.py::test_a_store_that_fails_lists_no_backup": "the store writes the message",
    "ops/backups/test_backups.py::test_wrong_credentials_are_reported_without_the_secret": "the secret",
    "ops/pki/test_passphrase.py::test_an_encrypted_ca_key_needs_its_passphrase": "the secret",
    "ops/world/test_lock.py::test_a_held_lock_is_refused_with_its_holder": "the line of the other run",
    "remote/real_host_contract.py::an_unknown_owner_is_an_error": "of each kind of host",
    "remote/ssh/test_login.py::expect_refusal": "it is true of all refusals",
    "remote/test_local.py::test_a_full_disk_keeps_the_old_file": "the operating system writes it",
    "remote/test_local.py::test_an_owner_that_cannot_be_set_is_an_error": "its user cannot write the golden file",
}


def fragments_in(source: str) -> Iterator[str]:
    """Yield the name of each function that asserts a part of a message."""
    for test in ast.walk(ast.parse(source)):
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
            asserts = (node for node in ast.walk(test) if isinstance(node, ast.Assert))
            inside = (node for each in asserts for node in ast.walk(each.test))
            if any(map(is_match, ast.walk(test))) or any(map(is_fragment, inside)):
                yield test.name


def is_match(node: ast.AST) -> bool:
    """Return whether this is `raises(..., match=...)`."""
    match node:
        case ast.Call(func=ast.Attribute(attr="raises"), args=[error], keywords=keywords):
            return ast.unparse(error) not in FOREIGN and any(each.arg == "match" for each in keywords)
    return False


def is_fragment(node: ast.AST) -> bool:
    """Return whether this is `part in error.hint`, `error.message.startswith(part)` or `"two words" in shown`."""
    match node:
        case ast.Compare(left=part, ops=[ast.In() | ast.NotIn()], comparators=[text]):
            return is_text(text) or has_words(part)
        case ast.Call(func=ast.Attribute(value=text, attr="startswith" | "endswith"), args=[part, *_]):
            return is_text(text) or has_words(part)
    return False


def has_words(node: ast.AST) -> bool:
    """Return whether this is a literal of at least two words."""
    match node:
        case ast.Constant(value=str(text)):
            return bool(WORDS.search(text))
        case ast.JoinedStr(values=values):
            return any(map(has_words, values))
    return False


def is_text(node: ast.AST) -> bool:
    """Return whether this is a text of an error, a refusal or a finding."""
    match node:
        case ast.Attribute(attr=name):
            return name in TEXTS
        case ast.Call(func=ast.Name(id="str"), args=[ast.Attribute(attr="value")]):
            return True
    return False


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_test_compares_a_part_of_a_message(folder: str) -> None:
    found = {
        f"{path.relative_to(TESTS)}::{test}"
        for path in (TESTS / folder).rglob("*.py")
        for test in fragments_in(path.read_text())
    }
    assert found == {test for test in ALLOWED if test.startswith(f"{folder}/")}


def test_each_golden_text_has_its_test() -> None:
    for path in TESTS.rglob("golden/test_*.txt"):
        module = ast.parse((path.parents[1] / f"{path.stem}.py").read_text())
        functions = (
            each for each in ast.walk(module) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        tests = {each.name for each in functions if "texts" in {argument.arg for argument in each.args.args}}
        assert {name.split("[")[0] for name in read_sections(path)} <= tests, path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("with pytest.raises(E, match='a'): f()", True),
        ("assert 'a' in error.value.hint", True),
        ("assert 'a' not in str(caught.value)", True),
        ("assert any(each.message.startswith('a') for each in found)", True),
        ("assert 'two words' in done.stderr", True),
        ("assert f'{name}: two words' in shown", True),
        ("with pytest.raises(EtcdRefused, match='a'): f()", False),
        ("assert 'infra1' in plan.hosts", False),
        ("texts(error.value)", False),
    ],
)
def test_a_part_of_a_message_is_found(line: str, found: bool) -> None:
    assert list(fragments_in(f"def test_x():\n    {line}\n")) == ["test_x"] * found
