"""A workspace with versions made of real text, for those that make them again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.jobs.dispatch import answer
from core.jobs.publish import publish
from core.jobs.service import Service
from core.logbook import open_log
from core.model.docstrings import harvest
from core.settings import Penalty
from db.workspace import Workspace
from events.types import Event, Recorded, ResumeRequested, ServiceResumed, StepsCompleted, StopRequested
from tests.core.train.stand import SETTINGS, Stand, StopAfter

ROWS = 40  # of a file: some ten steps


def with_dropout(base: Path, folder: Path) -> Path:
    """The base with random numbers in every step."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    return folder


def new(root: Path, base: Path) -> Stand:
    settings = replace(
        SETTINGS, max_length=128, too_long="truncate", gradient_accumulation=1, validation_max_rows=2,
        lr_schedule="wsd", logit_penalties=(Penalty("<think>", 2.0),),
    )  # fmt: skip
    return Stand(root, base, settings)


def starts(stand: Stand, number: int) -> str:
    """The run of a file that is brought now, or of the one that was stopped."""
    name = f"{number}.jsonl"
    known = {entry.name: entry.sha256 for entry in stand.follower.catch_up().queue.entries.values()}
    return stand.start(known.get(name) or stand.bring(name, list(harvest(number * ROWS, ROWS))))


def ends(stand: Stand) -> None:
    """To the version."""
    stand.train()
    publish(Service(stand.workspace, stand.log))


def stops(stand: Stand, looks: int = 12) -> None:
    """In the middle; the file goes back, with its position."""
    stand.train(stop=StopAfter(looks))
    stand.log.append(StopRequested())
    answer(Service(stand.workspace, stand.log))
    (seq,) = stand.log.append(ResumeRequested())
    stand.log.append(ServiceResumed(request=seq))


def killed_after_a_save(stand: Stand) -> None:
    """SIGKILL between two resume points: steps were done that will be done again."""
    before = len(stand.facts(StepsCompleted))
    trainer = stand.spawn()
    run = stand.follower.catch_up().run.open

    def is_beyond() -> bool:
        saved = [c for c in stand.follower.catch_up().storage.usable if c.run == run]
        done = [r.event.first_step + r.event.n - 1 for r in stand.facts(StepsCompleted)[before:]]
        return bool(saved and done) and max(done) > saved[0].step

    stand.wait_for(is_beyond)
    stand.kill(trainer)


def told_otherwise(stand: Stand, root: Path, change: Callable[[Recorded], Event]) -> Workspace:
    """A copy of the workspace whose log says something else."""
    shutil.copytree(stand.workspace.root, root, symlinks=True)
    place = Workspace(root)
    for path in root.glob("evertrain.sqlite*"):
        path.unlink()
    log = open_log(place, "test", create=True)
    for recorded in stand.facts():
        log.append(change(recorded))
    log.close()
    return place
