"""All is killed and nearly all deleted, again and again: the log alone brings it to the same end."""

import random
import time

import pytest

from tests.e2e.stage import Outcome, Stage, outcome, terminal_states, wait


@pytest.mark.parametrize(
    "moments", [pytest.param(3, id="3 moments"), pytest.param(10, id="10 moments", marks=pytest.mark.chaos)]
)
@pytest.mark.timeout(900)
def test_the_log_decides(stage: Stage, undisturbed: Outcome, moments: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with stage.serving():
        # what nobody has taken in yet is no part of the log's story
        wait(
            lambda: len(stage.state().inbox.files) == 2 and not list(stage.root.glob("inbox/*.jsonl")),
            60,
            "intake",
        )
    for _ in range(moments):
        stage.strip(chance)
        with stage.serving():
            time.sleep(chance.uniform(0.3, 11))
    stage.strip(chance)
    assert 0 == stage.serve_until_idle()

    # the rows too: `undisturbed` holds its own against the stores, which are deleted here
    assert undisturbed == outcome(stage.root)
    assert {1} == set(terminal_states(stage).values())
