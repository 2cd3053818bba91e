"""evertrain as a user has it, for the bench: a workspace, its log, resume points, a real trainer service."""

import gc
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers.utils.logging

from core.intake.encoded import Encoded
from core.intake.tokens import StoreWriter
from core.logbook import follow, open_log
from core.settings import Settings
from core.train.record import Recorder
from core.train.service import Service
from db.processes import Stop
from events.heartbeat import Heartbeat
from events.types import StepsCompleted, TrainingCompleted
from tests.bench.peers import Documents, first
from tests.core.train.stand import Stand


class Bench(Stand):
    """A stand that queues given documents, each time as a new file."""

    def __init__(self, root: Path, base: Path, given: Documents, settings: Settings) -> None:
        self.given = given
        super().__init__(root, base, settings)

    def _write(self, key: str, rows: int, seed: int, token: int | None) -> None:
        with StoreWriter(self.workspace.tokens, key) as writer:
            for number, (ids, labels) in enumerate(zip(self.given.ids, self.given.labels, strict=True), 1):
                row = Encoded(ids.astype("u4"), labels)
                writer.append(row, hashlib.sha256(row.ids.tobytes()).digest(), number)
            writer.finish({})


class Product:
    """A trainer service that stays, as in the daemon's process: the model is loaded before the first file."""

    def __init__(self, root: Path, network: Any, given: Documents, settings: Settings) -> None:
        base = root / "base"
        transformers.utils.logging.disable_progress_bar()
        network.save_pretrained(base)
        self.stand = Bench(root / "workspace", base, first(given, 16), settings)
        log = open_log(self.stand.workspace, "trainer")
        self._recorder = Recorder(log, Heartbeat(log, "trainer"))
        self._service = Service(self.stand.workspace, log, follow(log), self._recorder, Stop())
        gc.freeze()  # as the trainer's process does
        self._files = 0
        self.rate()
        self.stand.given = given

    def rate(self) -> float:
        """Trained tokens per CPU second of one run: plan, steps, log, resume points, all threads."""
        gc.collect()
        self._files += 1
        self.newest_file = self.stand.queue(f"{self._files}.jsonl", rows=len(self.stand.given.ids))
        self.newest_run = self.stand.start(self.newest_file)
        began = time.process_time()
        self._service.work(0.0)
        seconds = time.process_time() - began
        assert self._files == len(self.stand.facts(TrainingCompleted))
        return self.stand.given.trained / seconds

    @property
    def tokens_a_step(self) -> list[int]:
        """Of the last run."""
        facts = [recorded.event for recorded in self.stand.facts(StepsCompleted)]
        return [n for fact in facts if fact.run == self.newest_run for n in fact.columns["tokens"]]


def settings_for(given: Documents) -> Settings:
    """A step of as many tokens as the peers' on average, everything else as it comes; nothing held out."""
    return replace(
        Settings(),
        batch_size=1, gradient_accumulation=1, max_length=given.a_step, validation_fraction=0.0,
    )  # fmt: skip
