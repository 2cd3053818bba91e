"""Where a run goes on: by the log's order, never by names or numbers."""

from core.decide.resume import branch, needed_checkpoints, positions, sources, standing
from events.types import (
    CheckpointQuarantined,
    ConsolidateRequested,
    TrainingCompleted,
    VersionPublished,
    VersionRestored,
)
from projections.standing import moments_of, next_start
from tests.facts import sha, specimen
from tests.projections.story import Tale


def tale_with_two_runs() -> tuple[Tale, list[str]]:
    """r1 ended at 10; r2 started from there and saved at 13 and 16."""
    tale = Tale()
    tale.begins()
    for name in ("a", "b"):
        tale.queues(name)
    tale.starts("a", "r1")
    middle, end = tale.saves("r1", 5), tale.saves("r1", 10)
    tale.ends(TrainingCompleted, "a", "r1", 10, checkpoint=end)
    tale.publishes("v0001", "a", "r1")
    tale.starts("b", "r2", at=10, checkpoint=end)
    return tale, [middle, end, tale.saves("r2", 3, at=10), tale.saves("r2", 6, at=10)]


def found(tale: Tale) -> list[tuple[str | None, int, int]]:
    run = tale.state.run.current
    assert run is not None
    return [(p.path, p.step, p.global_step) for p in positions(tale.state, run)]


def test_its_own_newest_first_then_where_it_started_and_nothing_older() -> None:
    tale, (_, end, early, late) = tale_with_two_runs()

    assert [(late, 6, 16), (early, 3, 13), (end, 0, 10)] == found(tale)


def test_a_damaged_one_is_passed_over() -> None:
    tale, (_, end, early, late) = tale_with_two_runs()
    tale.tell(CheckpointQuarantined(path=late, problems=("bytes",)))

    assert [(early, 3, 13), (end, 0, 10)] == found(tale)


def test_the_first_run_may_begin_again_from_the_base() -> None:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")

    assert [(None, 0, 0)] == found(tale)
    path = tale.saves("r1", 5)
    assert [(path, 5, 5), (None, 0, 0)] == found(tale)


def test_a_run_that_goes_on_does_not_use_what_it_saved_before_that_start() -> None:
    tale, (_, _, _, late) = tale_with_two_runs()
    tale.starts("b", "r2", at=16, step=6, checkpoint=late)

    assert [(late, 6, 16)] == found(tale)


def test_with_nothing_left_the_run_stands_where_it_started() -> None:
    tale, paths = tale_with_two_runs()
    for path in paths:
        tale.tell(CheckpointQuarantined(path=path, problems=("bytes",)))
    run = tale.state.run.current
    assert run is not None

    at = standing(tale.state, run)

    assert [] == found(tale)
    assert (None, 0, 10) == (at.path, at.step, at.global_step)


# -- the next start, restores, and what must stay ------------------------------------------------------


def three_versions() -> tuple[Tale, list[str]]:
    """v1 at 10, v2 at 20, v3 at 30, each with a point in the middle and at its end; the ends' paths."""
    tale, ends, parent = Tale(), [], None
    tale.begins()
    for n, name in enumerate(("a", "b", "c")):
        tale.queues(name)
        tale.starts(name, f"r{n + 1}", at=10 * n, checkpoint=ends[-1] if ends else None, parent=parent)
        tale.saves(f"r{n + 1}", 5, at=10 * n)
        ends.append(tale.saves(f"r{n + 1}", 10, at=10 * n))
        tale.ends(TrainingCompleted, name, f"r{n + 1}", 10, at=10 * n, checkpoint=ends[-1])
        publish(tale, f"v{n + 1:04d}", name, f"r{n + 1}", parent, 10 * (n + 1))
        parent = f"v{n + 1:04d}"
    return tale, ends


def publish(tale: Tale, version: str, name: str, run: str, parent: str | None, step: int) -> None:
    tale.tell(
        specimen(
            VersionPublished, version=version, run=run, file=name, sha256=sha(name), parent=parent,
            path=f"models/versions/{version}", kind="run", request=None, global_step=step,
        )
    )  # fmt: skip


def restore(tale: Tale, version: str, step: int, checkpoint: str | None) -> None:
    tale.tell(
        specimen(
            VersionRestored, version=version, global_step=step, checkpoint=checkpoint,
            moments="kept" if checkpoint else "fresh",
        )
    )  # fmt: skip


def begins(tale: Tale) -> tuple[str | None, str | None, int]:
    at = next_start(tale.state)
    return at.path, at.weights, at.global_step


def test_the_next_run_begins_at_the_newest_point_and_after_a_restore_at_that_of_the_version() -> None:
    tale, ends = three_versions()
    seen = [begins(tale)]
    restore(tale, "v0001", 10, ends[0])
    seen.append(begins(tale))
    tale.queues("d")
    tale.starts("d", "r4", at=10, checkpoint=ends[0], parent="v0001")
    own = tale.saves("r4", 4, at=10)
    seen.append(begins(tale))

    assert [(ends[2], None, 30), (ends[0], None, 10), (own, None, 14)] == seen


def test_without_its_resume_point_a_restored_version_gives_its_weights_alone() -> None:
    tale, ends = three_versions()
    restore(tale, "v0001", 10, None)
    fresh = begins(tale)
    restore(tale, "v0002", 20, ends[1])
    tale.tell(CheckpointQuarantined(path=ends[1], problems=("bytes",)))
    damaged = begins(tale)

    assert (None, "models/versions/v0001", 10) == fresh
    assert (None, "models/versions/v0002", 20) == damaged


def test_with_no_resume_point_at_all_the_current_version_is_better_than_the_base() -> None:
    tale, _ = three_versions()
    for checkpoint in tale.state.storage.usable:
        tale.tell(CheckpointQuarantined(path=checkpoint.path, problems=("bytes",)))

    assert (None, "models/versions/v0003", 30) == begins(tale)


def test_a_run_that_began_with_a_versions_weights_may_go_back_to_them() -> None:
    tale, _ = three_versions()
    restore(tale, "v0001", 10, None)
    tale.queues("d")
    tale.starts("d", "r4", at=10, weights="models/versions/v0001", parent="v0001")
    run = tale.state.run.current
    assert run is not None

    (at,) = positions(tale.state, run)

    assert (None, "models/versions/v0001", 0, 10) == (at.path, at.source, at.step, at.global_step)


def test_a_branch_has_its_own_points_and_those_that_lead_to_where_it_parted() -> None:
    tale, ends = three_versions()
    whole = [c.path for c in branch(tale.state)]
    restore(tale, "v0002", 20, ends[1])
    tale.queues("d")
    tale.starts("d", "r4", at=20, checkpoint=ends[1], parent="v0002")
    own = tale.saves("r4", 3, at=20)
    found = [c.path for c in branch(tale.state)]

    assert 6 == len(whole)
    assert [own, *whole[2:]] == found


def test_a_release_of_several_needs_so_many_of_the_branch_and_the_newest_to_be_where_the_model_stands() -> (
    None
):
    tale, ends = three_versions()
    restore(tale, "v0001", 10, ends[0])
    kept = [len(sources(tale.state, n)) for n in (0, 1, 2, 3)]
    restore(tale, "v0001", 10, None)
    fresh = sources(tale.state, 1)

    assert [0, 1, 2, 0] == kept
    assert [] == fresh


def test_what_the_next_start_a_due_version_and_the_open_run_need_must_stay() -> None:
    tale, ends = three_versions()
    after_all = needed_checkpoints(tale.state)
    restore(tale, "v0001", 10, ends[0])
    after_restore = needed_checkpoints(tale.state)
    tale.queues("d")
    tale.starts("d", "r4", at=10, checkpoint=ends[0], parent="v0001")
    own = tale.saves("r4", 10, at=10)
    while_open = needed_checkpoints(tale.state)
    tale.ends(TrainingCompleted, "d", "r4", 10, at=10, checkpoint=own)
    due = needed_checkpoints(tale.state)
    publish(tale, "v0004", "d", "r4", "v0001", 20)
    tale.tell(ConsolidateRequested(average=2))
    asked = needed_checkpoints(tale.state)

    assert [{ends[2]}, {ends[0]}, {ends[0], own}, {own}] == [after_all, after_restore, while_open, due]
    assert {own, ends[0]} == asked


def test_the_moments_of_a_version_are_found_by_weights_and_step() -> None:
    tale, ends = three_versions()

    assert [ends[1]] == [c.path for c in moments_of(tale.state, "v0002")]
