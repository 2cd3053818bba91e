"""After bad numbers: once back to a good resume point, then the end."""

from core.decide.recovery import after_bad_numbers
from core.decide.resume import standing
from events.types import TrainingFailed, TrainingRolledBack
from tests.projections.story import Tale

WORDS = "not finite in 3 steps in a row"


def test_the_first_time_leads_back_and_the_second_ends_the_run() -> None:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1", at=100)
    tale.attempts("r1")
    path = tale.saves("r1", 4, at=100)
    found = []
    for _ in range(2):
        run = tale.state.run.runs["r1"]
        at = standing(tale.state, run)
        found.append(after_bad_numbers(run, at, step=9, global_step=109, reason=WORDS))
        tale.tell(found[-1])
    back, failed = found

    assert isinstance(back, TrainingRolledBack)
    assert (9, 109, 4, 104, path) == (
        back.step, back.global_step, back.to_step, back.to_global_step, back.checkpoint,
    )  # fmt: skip
    assert WORDS == back.reason
    assert isinstance(failed, TrainingFailed)
    assert (4, 104, path, 1) == (failed.step, failed.global_step, failed.checkpoint, failed.attempts)
    assert failed.reason.startswith(WORDS)
    assert "no passing fault" in failed.reason
    assert "failed" == tale.state.run.runs["r1"].state
