"""A workspace with a tiny base model and files of random rows, as the daemon would leave it before a run."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core import config
from core.decide.batches import lay_out
from core.decide.dispatch import Measured, start
from core.files import folder_sha256, sha256_of
from core.intake.encoded import Encoded
from core.intake.report import Report
from core.intake.template import Renderer
from core.intake.tokens import StoreWriter, TokenStore
from core.intake.validate import examine
from core.logbook import follow, open_log
from core.settings import Settings
from db.processes import PARENT, Stop
from db.workspace import Workspace
from events.heartbeat import Heartbeat
from events.log import Log
from events.types import (
    CheckpointSaved,
    ConfigChanged,
    Event,
    FilePlaced,
    FileQueued,
    FileReceived,
    FileValidated,
    FixedSetChecked,
    Recorded,
    ResumeRequested,
    ServiceResumed,
    StepsCompleted,
    WorkspaceCreated,
)

ROOT = Path(__file__).resolve().parents[3]
VOCABULARY = 211
POISON = VOCABULARY - 1  # a token that no ordinary row has
ROWS = 300  # of a run that something halts: some twenty steps
SETTINGS = Settings(
    batch_size=2, gradient_accumulation=2, learning_rate=3e-3, warmup_steps=4, max_length=128, eval_steps=5,
    save_steps=4, validation_max_rows=6,
)  # fmt: skip


def tiny_network(seed: int = 0, tied: bool = True, width: int = 32) -> Any:
    """A random Qwen3 with grouped-query attention, a tied head, and dropout: resume must survive that too."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            head_dim=width // 4,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
            attention_dropout=0.1,
            max_position_embeddings=256,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
    )


def sha256_of_name(name: str, rows: int, seed: int) -> str:
    return hashlib.sha256(f"{name} {rows} {seed}".encode()).hexdigest()


class Stand:
    """A workspace, its log, and short words for what a daemon, a person or the kernel would do."""

    def __init__(self, root: Path, base: Path, settings: Settings = SETTINGS) -> None:
        self.workspace = Workspace(root.resolve())
        self.workspace.lay_out()
        (self.workspace.models / "tiny").symlink_to(base)
        self.settings = settings
        self.log: Log = open_log(self.workspace, "daemon", create=True)
        self.follower = follow(self.log)
        self.log.append(
            WorkspaceCreated(
                kind="user",
                base_model="models/tiny",
                base_sha256=folder_sha256(base),
                model_name="tiny",
                parameters=1,
                architecture="Qwen3ForCausalLM",
                vocabulary_size=VOCABULARY,
                software="0",
            )
        )
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        self.settings, plain = settings, config.plain(settings)
        self.log.append(ConfigChanged(config=plain, changes={}, config_sha256=config.digest(plain)))

    def queue(self, name: str, rows: int = 60, seed: int = 1, token: int | None = None) -> str:
        """A validated file of random rows with its token store; its hash. `token` begins every row."""
        sha256 = sha256_of_name(name, rows, seed)
        key = sha256[:32]
        self._write(key, rows, seed, token)
        store = TokenStore.open(self.workspace.tokens / key)
        self.log.append(
            FileReceived(
                sha256=sha256, name=name, original=name, priority="normal", size_bytes=1, source_inode=1,
                source_mtime_ns=1,
            ),
            FileValidated(
                sha256=sha256, verdict="accepted", format="text", rows=rows, accepted_rows=rows,
                dropped_rows=0, tokens=int(store.lengths.sum()), trainable_tokens=int(store.trained.sum()),
                counts={}, warnings=(), store=key, seconds=0.0,
            ),
            FileQueued(sha256=sha256, priority="normal"),
        )  # fmt: skip
        return sha256

    def bring(self, name: str, texts: Sequence[dict[str, Any]]) -> str:
        """A real file of these rows, checked and queued, in processing/: for a base with a tokenizer."""
        path = self.workspace.queue / "processing" / name
        report = self._examine(path, texts)
        self.log.append(
            FileReceived(
                sha256=report.sha256, name=name, original=name, priority="normal",
                size_bytes=path.stat().st_size, source_inode=1, source_mtime_ns=1,
            ),
            FileValidated(
                sha256=report.sha256, verdict=report.verdict, format=report.format, rows=report.rows,
                accepted_rows=report.accepted_rows, dropped_rows=report.dropped_rows, tokens=report.tokens,
                trainable_tokens=report.trainable_tokens, counts=report.counts, warnings=report.warnings,
                store=report.store or "", seconds=0.0,
            ),
            FileQueued(sha256=report.sha256, priority="normal"),
            FilePlaced(sha256=report.sha256, path=self.workspace.relative(path)),
        )  # fmt: skip
        return report.sha256

    def bring_fixed(self, texts: Sequence[dict[str, Any]], path: str = "fixed.jsonl") -> None:
        """A real fixed validation set of these rows, in force."""
        self.configure(replace(self.settings, fixed_validation=path))
        report = self._examine(self.workspace.root / path, texts)
        self.log.append(
            FixedSetChecked(
                path=path, sha256=report.sha256, rows=report.rows, usable_rows=report.rows,
                store=report.store or "", problems=(), trainable_tokens=report.trainable_tokens,
            )
        )  # fmt: skip

    def _examine(self, path: Path, texts: Sequence[dict[str, Any]]) -> Report:
        path.write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
        return examine(
            path,
            sha256=sha256_of(path),
            renderer=Renderer(self.workspace.models / "tiny"),
            settings=self.settings,
            store=self.workspace.tokens,
        )

    def _write(self, key: str, rows: int, seed: int, token: int | None) -> None:
        generator = np.random.default_rng(seed)
        with StoreWriter(self.workspace.tokens, key) as writer:
            for row in range(rows):
                length = int(generator.integers(3, 60))
                ids = generator.integers(2, POISON, length).astype(np.uint32)
                ids[0] = token or ids[0]
                labels = (generator.random(length) < 0.6).astype(np.uint8)
                labels[0], labels[-1] = 0, 1
                writer.append(Encoded(ids, labels), hashlib.sha256(ids.tobytes()).digest(), row + 1)
            writer.finish({})

    def store(self, sha256: str) -> TokenStore:
        return TokenStore.open(
            self.workspace.tokens / (self.follower.catch_up().inbox.files[sha256].store or "")
        )

    def fix(self, name: str, rows: int = 20, seed: int = 9, path: str = "fixed.jsonl") -> str:
        """Random rows as the fixed validation set in force; their store's key."""
        key = sha256_of_name(name, rows, seed)
        self._write(key[:32], rows, seed, None)
        store = TokenStore.open(self.workspace.tokens / key[:32])
        self.configure(replace(self.settings, fixed_validation=path))
        self.log.append(
            FixedSetChecked(
                path=path, sha256=key, rows=rows, usable_rows=rows, store=key[:32], problems=(),
                trainable_tokens=int(store.trained.sum()),
            )
        )  # fmt: skip
        return key[:32]

    def start(self, sha256: str) -> str:
        """Decide to train it, as dispatch does; the run's id."""
        store, fixed = self.store(sha256), self.follower.catch_up().workspace.fixed_set
        never = TokenStore.open(self.workspace.tokens / fixed.store).hashes if fixed is not None else None
        layout = lay_out(store.hashes, store.lengths, self.settings, sha256=sha256, fixed=never)
        rows = layout.plan.rows
        measured = Measured(
            layout.plan.steps_planned, len(layout.train_rows), len(layout.holdout_rows),
            int(store.lengths[rows].sum()), int(store.trained[rows].sum()), layout.plan.sha256,
            fixed.sha256 if fixed is not None else None, fixed.store if fixed is not None else None,
            layout.excluded_rows,
        )  # fmt: skip
        self.log.append(*start(self.follower.catch_up(), sha256, measured))
        run = self.follower.catch_up().run.open
        assert run is not None
        return run

    def train(self, stop: Stop | None = None, idle_seconds: float = 0.0, room: int | None = None) -> None:
        """One trainer, in this process; `room`: it may have so many bytes."""
        from core.decide.memory import Room
        from core.train.planning import room_here
        from core.train.record import Recorder
        from core.train.service import Service

        log = open_log(self.workspace, "trainer")
        recorder = Recorder(log, Heartbeat(log, "trainer"))
        try:
            Service(
                self.workspace, log, follow(log), recorder, Stop() if stop is None else stop,
                room_here if room is None else lambda: Room("cpu", room, room),
            ).work(idle_seconds)  # fmt: skip
        finally:
            recorder.close()
            log.close()

    def spawn(self, *more: str) -> subprocess.Popen[bytes]:
        """One trainer, in a process of its own."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            PARENT: str(os.getpid()),
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "core.train", "--workspace", str(self.workspace.root),
             "--idle-seconds", "0", *more],
            env=environment, cwd=ROOT,
        )  # fmt: skip

    def resume(self) -> None:
        """A person resumes, the daemon agrees."""
        (seq,) = self.log.append(ResumeRequested())
        self.log.append(ServiceResumed(request=seq))

    def when(self, fact: type[Event], *then: Event, count: int = 1) -> threading.Thread:
        """Somebody who waits for so many facts of a type, then appends."""

        def watch() -> None:
            log = open_log(self.workspace, "cli")
            self.wait_for(lambda: len(list(log.read(types=(fact,)))) >= count)
            log.append(*then)
            log.close()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    def final(self) -> tuple[int, str, str, str]:
        """Global step, weights, moments and generators of the newest resume point."""
        newest = self.log.newest(CheckpointSaved)
        assert newest is not None and isinstance(newest.event, CheckpointSaved)
        saved = newest.event
        return saved.global_step, saved.weights_sha256, saved.moments_sha256, saved.rng_sha256

    def facts(self, *types: type[Event]) -> list[Recorded]:
        return list(self.log.read(types=types or None))

    def wait_for(self, reached: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(0.01)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()


class StopAfter(Stop):
    """A signal that arrives after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def __bool__(self) -> bool:
        self._left -= 1
        if self._left < 0:
            self.signal = "SIGTERM"
        return super().__bool__()


def only(stand: Stand, fact: type[Event]) -> Any:
    (recorded,) = stand.facts(fact)
    return recorded.event


def column(stand: Stand, name: str) -> list[Any]:
    return [value for r in stand.facts(StepsCompleted) for value in r.event.columns[name]]
