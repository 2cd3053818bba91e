"""SIGKILL at random moments, also inside saves, over two files: the bits and rows of an undisturbed run."""

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.decide.batches import digests, lay_out
from core.logbook import follow, open_log
from events.types import StepsCompleted, TrainingCompleted
from tests.core.train.stand import Stand

Make = Callable[..., Stand]
#: Dropout is the model's; the plan shuffles each epoch anew.
SETTINGS: dict[str, Any] = {
    "gradient_accumulation": 4, "batch_size": 1, "epochs": 2, "save_steps": 2, "eval_steps": 7,
}  # fmt: skip
FILES = {"a.jsonl": 1, "b.jsonl": 2}


@pytest.mark.parametrize(
    ("kills", "rows"),
    [pytest.param(4, 100, id="4 kills"), pytest.param(32, 500, id="32 kills", marks=pytest.mark.chaos)],
)
@pytest.mark.timeout(1800)
def test_killed_at_any_moment_it_comes_to_the_same_bits_and_rows(
    make_stand: Make, kills: int, rows: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, inside, killed = random.Random(seed), 0, 0
    straight, stand = make_stand("straight", **SETTINGS), make_stand("killed", **SETTINGS)
    for name, number in FILES.items():
        straight.start(straight.queue(name, rows=rows, seed=number))
        straight.train()
        run = stand.start(stand.queue(name, rows=rows, seed=number))
        stand.log.close()  # no connection outlives a fork
        due, killed = killed + kills // len(FILES), killed
        while True:
            died = trained(stand, chance, is_killed=killed < due, inside=killed % 2 == 0)
            if died is None:
                break
            killed, inside = killed + 1, inside + died
        reopen(stand)
        assert "completed" == stand.follower.catch_up().run.runs[run].state

    print(f"{killed} kills, {inside} of them inside a save")
    assert straight.final() == stand.final()
    assert (kills, len(FILES)) == (killed, len(stand.facts(TrainingCompleted)))
    assert kills / 2 <= inside
    check_rows(stand)
    losses: dict[tuple[str, int], set[float]] = {}
    for recorded in stand.facts(StepsCompleted):
        for step, loss in enumerate(recorded.event.columns["loss"], recorded.event.first_step):
            losses.setdefault((recorded.event.run, step), set()).add(loss)
    assert {1} == {len(found) for found in losses.values()}  # what was done twice came out the same


def trained(stand: Stand, chance: random.Random, *, is_killed: bool, inside: bool) -> bool | None:
    """One trainer, as a forked child: None if it came to its end, else whether it died inside a save.

    `inside`: it is killed there.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            stand.train()
            code = 0
        finally:
            os._exit(code)
    if is_killed:
        wait_for_moment(stand, chance, child, inside=inside)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert 0 == os.waitstatus_to_exitcode(status)
        return None
    return bool(saving(stand))


def saving(stand: Stand) -> set[str]:
    """Saves that have begun and not ended."""
    return {path.name for path in stand.workspace.current_model.glob(".checkpoint-*.partial-*")}


def wait_for_moment(stand: Stand, chance: random.Random, child: int, *, inside: bool) -> None:
    """A random one; or inside one of the next saves, the child stopped."""
    known, skipped = saving(stand), chance.randrange(3)
    until = time.monotonic() + (60 if inside else chance.uniform(0, 1.5))
    while time.monotonic() < until:
        if inside and (begun := saving(stand) - known):
            known |= begun
            skipped -= 1
            time.sleep(chance.uniform(0, 0.005))
            os.kill(child, signal.SIGSTOP)
            if skipped < 0 and saving(stand) & begun:
                return
            os.kill(child, signal.SIGCONT)
        time.sleep(0.001)
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return


def reopen(stand: Stand) -> None:
    stand.log = open_log(stand.workspace, "daemon")
    stand.follower = follow(stand.log)


def check_rows(stand: Stand) -> None:
    """Each row once an epoch: steps that were done again replace those that were lost."""
    for run in stand.follower.catch_up().run.runs.values():
        store = stand.store(run.sha256)
        planned = lay_out(store.hashes, store.lengths, stand.settings, sha256=run.sha256).train_rows
        steps: dict[int, tuple[int, int]] = {}
        for recorded in stand.log.read(types=(StepsCompleted,), stream=f"run/{run.id}"):
            event: Any = recorded.event
            figures = zip(event.columns["rows"], event.columns["row_digest"], strict=True)
            steps |= {event.first_step + n: pair for n, pair in enumerate(figures)}
        epochs = stand.settings.epochs

        assert [*range(1, run.steps_planned + 1)] == sorted(steps)
        assert epochs * len(planned) == sum(count for count, _ in steps.values())
        expected = epochs * digests(store.hashes, planned) % 2**48
        assert expected == sum(digest for _, digest in steps.values()) % 2**48
