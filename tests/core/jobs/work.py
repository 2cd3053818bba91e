"""What a daemon does, by hand and in order; and what a trainer would have left on the disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.files import sha256_of
from core.jobs.arrange import arrange, sweep
from core.jobs.dispatch import answer, start_next
from core.jobs.poll import poll
from core.jobs.publish import publish
from core.jobs.service import Service
from core.jobs.validate import validate
from events.types import CheckpointSaved, Event, Recorded, TrainingCompleted
from projections.queue import Entry
from tests.facts import specimen


def rows(text: str, n: int = 40) -> str:
    """A small file of prompts and completions; another text gives other bytes."""
    return "".join(
        json.dumps({"prompt": f"What is {text} {i}?", "completion": f"It is {text} number {i}."}) + "\n"
        for i in range(n)
    )


def drop(service: Service, name: str, text: str | None = None) -> Path:
    """A file in the inbox."""
    path = service.workspace.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows(name) if text is None else text, encoding="utf-8")
    return path


def take_in(service: Service) -> None:
    """Poll, check and arrange until nothing changes any more."""
    before = -1
    while before != service.log.head():
        before = service.log.head()
        poll(service)
        arrange(service)
        while validate(service):
            arrange(service)


def restart(service: Service) -> Service:
    """What a new daemon does first."""
    fresh = Service(service.workspace, service.log)
    sweep(fresh)
    arrange(fresh)
    return fresh


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The operating system lets nobody delete this folder (an immutable file, a mount in it)."""
    rmtree = shutil.rmtree

    def refusing(path: Any, *given: Any, **more: Any) -> None:
        if Path(path) == folder:
            raise PermissionError(1, "Operation not permitted", str(path))
        rmtree(path, *given, **more)

    monkeypatch.setattr(shutil, "rmtree", refusing)


def facts(service: Service, *types: type[Event]) -> list[Event]:
    return [each.event for each in recorded(service, *types)]


def recorded(service: Service, *types: type[Event]) -> list[Recorded]:
    return list(service.log.read(types=types or None))


def entry(service: Service, name: str) -> Entry:
    (found,) = [e for e in service.state().queue.entries.values() if e.name == name]
    return found


def places(service: Service) -> dict[str, str]:
    """Every file below inbox/ and queue/ (reports left out) → its content."""
    found = {}
    for top in (service.workspace.inbox, service.workspace.queue):
        for path in sorted(top.rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.endswith(".report.json"):
                found[service.workspace.relative(path)] = path.read_text(encoding="utf-8")
    return found


def resume_point(service: Service, run: str, step: int) -> str:
    """A resume point on disk and in the log, the base model's weights but for one number; gives its path."""
    path = f"models/current_model/checkpoint-{step}"
    if (service.workspace.root / path).exists():  # of another branch
        path += ".2"
    folder = service.workspace.root / path
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / name).write_bytes((service.base() / name).read_bytes())
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-4] = step % 256  # the lowest bits of the last number
    (folder / "model.safetensors").write_bytes(weights)
    files = {p.name: {"sha256": sha256_of(p), "size_bytes": p.stat().st_size} for p in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    service.log.append(specimen(
        CheckpointSaved, run=run, step=step, global_step=step, path=path,
        manifest_sha256=sha256_of(folder / "manifest.json"),
        weights_sha256=sha256_of(folder / "model.safetensors"),
    ))  # fmt: skip
    return path


def complete(service: Service) -> None:
    """The open run ends well, as a trainer would tell it."""
    run = service.state().run.current
    assert run is not None
    step = service.state().run.global_step + 7
    path = resume_point(service, run.id, step)
    service.log.append(specimen(
        TrainingCompleted, run=run.id, sha256=run.sha256, steps=7, global_step=step, checkpoint=path,
    ))  # fmt: skip


def train_one(service: Service) -> None:
    """The next file, from its start to its version."""
    answer(service)
    start_next(service)
    arrange(service)
    complete(service)
    publish(service)
    arrange(service)
