"""Which tests show that etcdup follows a rule, or that etcd behaves as a rule says. Keyed by the rule's number.

A test is named by its function alone, so that it may move to another file.
"""

FAKE_AND_REAL = (
    "test_the_contract_with_a_fake_cluster",
    "test_the_contract_with_a_real_cluster",
)  # remote/membership_contract.py
FILES = "test_a_wrong_file_gives_exactly_these_problems"
DEFAULTS = "test_defaults_that_differ_between_minors_are_set_alike"
WEAKNESS = "test_each_weakness_is_named"

TESTED_BY: dict[int, str | tuple[str, ...]] = {
    # Bootstrap
    1: ("test_a_start_does_not_wait_for_readiness", "test_a_starting_member_is_recognised"),
    2: "test_the_first_member_of_a_new_cluster_starts_before_the_others",
    3: "test_a_new_cluster_has_its_time",
    4: "test_the_history_outlives_the_replacement_of_every_host",
    5: FAKE_AND_REAL,
    6: (
        "test_data_of_another_program_is_refused_with_4",
        "test_a_refused_apply_has_a_hint_and_changes_nothing",
    ),
    7: (
        "test_the_hosts_have_the_units_and_settings_of_the_guide",
        "test_a_wiped_member_is_never_started_empty",
    ),
    8: FILES,
    9: FILES,
    10: FILES,
    11: (
        "test_each_member_passes_the_health_proof",
        "test_health_separates_unhealthy_from_silent_and_degraded_from_unavailable",
    ),
    115: (
        "test_a_start_that_waits_in_the_queue_names_what_it_waits_for",
        "test_every_start_waits_for_systemd",
    ),
    # Certificates
    12: ("test_all_leaves_are_renewed_without_a_restart", "test_a_member_whose_certificate_has_expired"),
    14: "test_new_leaves_wait_for_the_last_restart_with_both_cas",
    15: ("test_three_runs_replace_the_ca", "test_renewal_and_rotation_lose_no_write_and_reject_no_client"),
    16: (
        "test_a_pair_that_does_not_match_is_due_and_goes_to_no_host",
        "test_all_leaves_are_renewed_without_a_restart",
    ),
    17: ("test_a_rebooted_cluster_with_expired_certificates_is_repaired", "test_one_port_is_the_message"),
    18: (
        "test_the_source_address_must_be_in_the_peer_certificate",
        "test_certificates_contain_all_addresses_of_a_member",
    ),
    19: ("test_certificates_contain_all_addresses_of_a_member", "test_a_missing_extended_key_usage"),
    20: (
        "test_no_other_certificate_of_the_ca_is_accepted_from_peers",
        "test_only_peers_have_the_common_name_of_peers",
    ),
    21: (FILES, WEAKNESS),
    22: "test_plain_http_between_peers_is_found",
    23: (
        "test_old_releases_promote_a_learner_whose_url_is_changed",
        "test_a_running_learner_is_restarted_with_new_settings_after_its_promotion",
    ),
    24: (
        "test_the_floor_of_tls_is_set_where_etcd_has_the_option",
        "test_modes_of_data_and_keys_are_checked",
        "test_wrong_rights_are_corrected",
    ),
    # Members
    25: (*FAKE_AND_REAL, "test_members_that_were_added_by_hand_are_removed_or_started"),
    26: (*FAKE_AND_REAL, "test_no_plan_takes_a_quorum_or_loses_a_write"),
    27: FAKE_AND_REAL,
    28: (*FAKE_AND_REAL, "test_five_voters_of_which_one_is_dead"),
    29: FAKE_AND_REAL,
    30: FAKE_AND_REAL,
    31: (*FAKE_AND_REAL, "test_a_new_member_replaces_the_old_one"),
    32: (*FAKE_AND_REAL, "test_a_wiped_voter_panics_again_and_again_until_it_is_removed"),
    33: FAKE_AND_REAL,
    34: (
        "test_a_voter_is_detached_only_if_the_others_are_a_quorum",
        "test_no_plan_takes_a_quorum_or_loses_a_write",
    ),
    35: "test_no_plan_takes_a_quorum_or_loses_a_write",
    36: (*FAKE_AND_REAL, "test_peer_urls_are_changed"),
    37: "test_two_dead_members_of_five_leave_before_anything_else",
    # Restarts and versions
    38: (
        "test_a_changed_setting_rolls_followers_first_and_the_leader_last",
        "test_no_restart_while_another_member_is_down",
    ),
    39: (
        "test_a_stopped_leader_transfers_its_leadership",
        "test_a_rolling_restart_loses_no_write_and_has_no_long_gap",
    ),
    40: "test_etcd_has_time_to_stop",
    42: ("test_the_path_is_one_minor_at_a_time", "test_no_minor_can_be_skipped"),
    43: (
        "test_a_plan_over_several_minors_shows_every_hop",
        "test_a_hop_does_not_start_while_a_member_is_down",
    ),
    44: (
        "test_old_patches_are_no_source_for_the_next_minor",
        "test_v2_data_is_checked_while_a_member_writes",
        "test_no_package_is_a_source_for_3_6",
    ),
    45: "test_enabled_authentication_forbids_the_upgrade_from_3_4_to_3_5",
    46: (
        "test_members_can_go_back_until_the_last_one_has_the_new_version",
        "test_the_cluster_version_rises_after_the_last_member_and_never_falls",
    ),
    47: (*FAKE_AND_REAL, "test_releases_without_a_downgrade", "test_the_downgrade_request_of_a_hop"),
    48: "test_the_notes_before_a_hop",
    49: "test_a_newer_versions_snapshot_is_refused_before_anything_stops",
    50: "test_members_and_minor_are_not_changed_together",
    51: ("test_corruption_checks_are_on_by_the_names_of_each_minor", FILES),
    52: (
        "test_a_patch_version_is_installed_and_rolled",
        "test_our_own_unit_is_not_masked_and_nothing_restarts_it",
    ),
    # Backup and restore
    53: (
        "test_the_source_is_the_healthy_follower_with_the_highest_index",
        "test_ctl_saves_a_snapshot_on_this_machine",
    ),
    54: ("test_every_flip_and_every_truncation_is_detected", "test_a_snapshot_ends_with_its_own_checksum"),
    55: "test_uncommitted_entries_at_the_end_of_the_log_are_kept",
    56: "test_same_hosts",
    57: ("test_same_hosts", "test_reachable_members_are_cleared_by_recover_itself"),
    58: (
        "test_a_complete_restore_is_undone_with_higher_revisions",
        "test_the_history_outlives_the_replacement_of_every_host",
        "test_a_snapshot_is_restored_to_the_same_hosts_others_five_and_three",
    ),
    59: ("test_etcdutl_came_with_3_5", "test_versions_before_3_5_need_no_etcdutl"),
    # Lost quorum
    62: (*FAKE_AND_REAL, "test_without_a_quorum_a_member_answers_only_local_requests"),
    63: (
        "test_one_survivor_serves_alone_and_grows_back",
        "test_two_old_members_and_the_survivor_both_accept_writes",
    ),
    64: "test_two_old_members_and_the_survivor_both_accept_writes",
    65: (
        "test_two_old_members_and_the_survivor_both_accept_writes",
        "test_old_members_that_start_together_are_cleared_before_any_other_step",
    ),
    66: "test_some_faults_matter_only_for_one_use",
    67: "test_one_survivor_serves_alone_and_grows_back",
    68: ("test_a_quorum_repair_brings_the_quorum_back", "test_recover_is_refused_if_less_is_enough"),
    69: "test_the_clients_to_restart_after_a_restore_are_named_in_order",
    119: "test_no_client_reads_a_key_on_a_lease_of_the_snapshot",
    # Maintenance
    70: "test_a_full_member_raises_an_alarm_that_is_disarmed_in_order",
    72: ("test_a_possible_history_passes", "test_lost_writes_and_failed_writes_that_exist_are_reported"),
    73: "test_a_defragmentation_blocks_its_member_and_outlives_its_client",
    74: "test_a_defragmentation_blocks_its_member_and_outlives_its_client",
    75: (
        "test_some_faults_matter_only_for_one_use",
        "test_followers_are_first_and_the_leader_is_last",
        "test_the_guards",
    ),
    76: "test_a_history_without_compactions_is_reported",
    77: (
        "test_settings_that_differ_between_members_are_reported",
        "test_a_good_file_gives_exactly_these_values_and_warnings",
    ),
    78: DEFAULTS,
    79: (
        "test_stopped_members_are_defragmented_and_the_leader_is_last",
        "test_a_start_of_etcd_ends_a_defragmentation_of_its_stopped_database",
    ),
    # Hardening and corruption
    80: "test_corruption_checks_are_on_by_the_names_of_each_minor",
    81: (
        "test_only_members_with_the_same_compaction_are_compared",
        "test_a_member_with_other_data_is_found",
    ),
    82: ("test_alarms_are_separated_from_other_errors_in_a_status", "test_each_alarm_has_its_fix"),
    84: (
        WEAKNESS,
        "test_the_owner_of_the_data_is_checked",
        "test_check_finds_each_fault_and_its_hint_fixes_it",
    ),
    85: "test_metrics_are_on_loopback_and_clients_on_the_host",
    86: (FILES, WEAKNESS),
    87: (DEFAULTS, "test_a_slow_network_is_reported_with_fitting_timeouts"),
    88: DEFAULTS,
    89: (
        "test_the_unit_is_hardened_and_starts_nothing_without_its_disk",
        "test_the_sandbox_of_each_version",
        "test_a_full_disk_is_safe_and_an_unmounted_disk_is_not_an_empty_one",
    ),
    90: "test_vulnerabilities_of_users_and_roles_matter_only_if_they_are_used",
    # Hosts
    91: ("test_a_slow_disk", "test_the_disk_test_writes_next_to_the_wal_and_never_if_a_member_exists"),
    92: "test_the_type_of_a_file_system_is_checked",
    93: (
        "test_swap_a_second_etcd_and_an_unhardened_unit_are_reported",
        "test_the_own_disk_of_a_log_is_checked",
    ),
    94: ("test_the_wrong_clock_is_named", "test_certificates_are_valid_on_hosts_whose_clock_is_behind"),
    95: (
        "test_check_finds_each_fault_and_its_hint_fixes_it",
        "test_the_program_on_the_port_of_a_stopped_member_is_named",
    ),
    96: ("test_cloned_machines_are_reported", "test_etcd_is_masked_before_anything_is_installed"),
    97: "test_a_good_file_gives_exactly_these_values_and_warnings",
    98: "test_another_architecture_is_refused",
    # Kubernetes and monitoring
    101: DEFAULTS,
    104: "test_the_clients_to_restart_after_a_restore_are_named_in_order",
    105: "test_exported_files_exist_and_work",
    106: "test_many_leader_changes_are_reported",
    107: "test_a_database_is_compared_with_the_quota_of_its_process",
    110: (
        "test_a_missing_or_damaged_list_is_replaced_without_a_restart",
        "test_a_new_list_counts_for_the_next_connection_without_a_restart",
        "test_a_consumer_is_rejected_by_every_member_without_a_restart",
        "test_a_removal_revokes_the_certificates_and_deletes_the_keys",
    ),
    111: (
        "test_only_a_committed_snapshot_after_the_last_request_counts",
        "test_a_stopped_member_is_proved_before_it_starts_with_3_7",
        "test_a_quiet_cluster_reaches_3_7",
    ),
    # Users of etcd
    118: (
        "test_each_verb_refuses_and_changes_nothing",
        "test_with_users_the_gateway_accepts_only_certificates_without_a_name",
    ),
}
