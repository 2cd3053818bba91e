"""Every key of config.json acts: for each, the test that shows what changes with it."""

import ast
from dataclasses import fields
from pathlib import Path

from core.settings import Settings

ROOT = Path(__file__).parents[2]

SHOWN = {
    "batch_size": "tests/core/decide/test_batches.py::test_a_setting_of_batches_changes_what_is_trained",
    "gradient_accumulation": (
        "tests/core/decide/test_batches.py::test_a_setting_of_batches_changes_what_is_trained"
    ),
    "learning_rate": "tests/core/decide/test_training.py::test_no_warm_up_begins_at_the_peak",
    "lr_schedule": (
        "tests/core/decide/test_training.py::"
        "test_cosine_falls_from_the_peak_to_almost_nothing_in_every_file"
    ),
    "warmup_steps": "tests/core/decide/test_training.py::test_constant_warms_up_once_in_a_models_life",
    "epochs": (
        "tests/core/train/test_service.py::test_every_row_that_is_not_held_out_is_trained_epochs_times"
    ),
    "max_bad_rows": "tests/core/intake/test_validate.py::test_the_verdict_follows_the_bad_rows",
    "max_length": "tests/core/decide/test_batches.py::test_a_setting_of_batches_changes_what_is_trained",
    "too_long": "tests/core/intake/test_validate.py::test_long_rows_go_as_the_policy_says",
    "eval_steps": (
        "tests/core/train/test_service.py::"
        "test_the_holdout_is_measured_before_step_one_at_multiples_and_at_the_end"
    ),
    "save_steps": (
        "tests/core/decide/test_training.py::test_a_save_is_due_when_the_global_step_is_a_multiple"
    ),
    "validation_fraction": (
        "tests/core/decide/test_batches.py::test_a_setting_of_batches_changes_what_is_trained"
    ),
    "validation_max_rows": (
        "tests/core/decide/test_batches.py::test_a_setting_of_batches_changes_what_is_trained"
    ),
    "fixed_validation": (
        "tests/core/train/test_validation.py::test_the_fixed_set_is_measured_whenever_the_holdout_is"
    ),
    "poll_interval": (
        "tests/core/jobs/test_housekeeping.py::test_another_poll_interval_acts_without_a_restart"
    ),
    "precision": (
        "tests/core/train/test_memory.py::test_the_precision_asked_for_is_the_precision_of_every_parameter"
    ),
    "gradient_checkpointing": (
        "tests/core/train/test_memory.py::test_gradient_checkpointing_keeps_less_for_the_backward_pass"
    ),
    "seed": "tests/core/decide/test_batches.py::test_a_setting_of_batches_changes_what_is_trained",
    "logit_penalties": (
        "tests/core/train/test_penalties.py::"
        "test_a_penalty_on_a_tag_that_the_data_has_takes_nine_tenths_of_its_mass_and_costs_nothing_elsewhere"
    ),
    "stop_sequences": (
        "tests/core/intake/test_sequences.py::"
        "test_sequences_are_trained_with_the_end_of_the_turn_and_rows_keep_their_hash"
    ),
    "think_prefix": (
        "tests/core/intake/test_sequences.py::"
        "test_sequences_are_trained_with_the_end_of_the_turn_and_rows_keep_their_hash"
    ),
    "system_prompt": "tests/core/intake/test_validate.py::test_the_store_holds_the_accepted_rows",
    "checkpoints_keep": (
        "tests/core/jobs/test_housekeeping.py::"
        "test_only_the_newest_resume_points_stay_and_each_deletion_is_two_facts"
    ),
    "versions_keep": (
        "tests/core/jobs/test_retention.py::"
        "test_what_no_rule_keeps_is_condemned_deleted_and_told_and_the_rest_is_whole"
    ),
    "backup": (
        "tests/core/decide/test_backup.py::test_the_next_is_due_an_interval_after_the_newest_ended"
    ),
    "disk_floor_gb": "tests/core/doctor/test_checks.py::test_free_space_is_held_against_floor_and_target",
    "disk_target_gb": "tests/core/doctor/test_checks.py::test_free_space_is_held_against_floor_and_target",
    "max_attempts": (
        "tests/core/decide/test_dispatch.py::"
        "test_a_run_is_given_up_after_so_many_tries_that_got_no_further"
    ),
    "report_to": (
        "tests/core/train/test_trackers.py::"
        "test_a_tracker_hears_every_step_and_every_evaluation_at_its_global_step"
    ),
}


def test_every_setting_is_shown_to_act_by_a_test_that_names_it() -> None:
    assert {field.name for field in fields(Settings)} == SHOWN.keys()
    for key, place in SHOWN.items():
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        tests = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]

        assert name in tests, f"{key}: {place} is not there"
        assert key in text, f"{key} is not named in {path}"
