"""Publish: a completed run becomes a version, and the current model shows it."""

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

from core.config import parse
from core.decide import card, generation, versions
from core.files import fsync_file, fsync_folder, link_or_copy, sha256_of, write_atomic
from core.jobs.service import Service
from core.settings import Settings
from core.space import ensure_room
from events.types import DriftFound
from projections.fold import State
from projections.versions import Due

#: What a version takes from the checkpoint; everything else a model folder needs comes from the base.
GENERATION = "generation_config.json"
FROM_CHECKPOINT = ("model.safetensors", "config.json", GENERATION)
#: What makes a folder load with its tokenizer.
FROM_BASE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
MANIFEST = "manifest.json"
BESIDE_WEIGHTS = 1 << 20  # bytes of what is written with the weights, which are linked
#: The model card.
CARD = "README.md"
MARKER = "evertrain.json"

#: One thread at a time takes the next number, or changes the current model.
NUMBERING = threading.Lock()
_SHOWING = threading.Lock()


def publish(service: Service) -> None:
    """Make the version that is due: staged, renamed into place, then a fact."""
    if service.state().versions.due:
        with NUMBERING:
            _publish(service)
        show_current(service)


def _publish(service: Service) -> None:
    state = service.state()
    due = state.versions.due[0]
    folder = service.workspace.versions / state.versions.next_id
    partial = staging(folder)
    ensure_room(service.workspace, f"the version {folder.name}", BESIDE_WEIGHTS)
    run = state.run.runs[due.event.run]
    settings = parse(run.config)
    fill(partial, service.workspace.root / due.event.checkpoint, service.base())
    describe(partial, service, settings)
    log_seq, log_hash = service.log.commit_of(due.seq)
    document = versions.manifest(state, due, {}, log_seq, log_hash.hex())
    seal(partial, document, card.card(document, run, settings))
    into_place(service, partial, folder)
    _append(service, due, document, sha256_of(folder / MANIFEST), service.workspace.relative(folder))


def staging(folder: Path) -> Path:
    """An empty folder beside the place of a version."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    return partial


def seal(partial: Path, document: dict[str, Any], text: str) -> None:
    """Add the card and, last, the manifest with every file's hash, also to `document`; all on the disk."""
    (partial / CARD).write_text(text, encoding="utf-8")
    fsync_file(partial / CARD)
    document["files"] = {
        p.name: {"sha256": sha256_of(p), "size_bytes": p.stat().st_size} for p in sorted(partial.iterdir())
    }
    (partial / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    fsync_file(partial / MANIFEST)
    fsync_folder(partial)


def _append(service: Service, due: Due, document: dict[str, Any], manifest_sha256: str, path: str) -> None:
    service.decide(
        lambda state: (
            [versions.published(state, due, document, manifest_sha256, path)]
            if due in state.versions.due
            else []
        ),
        versions.DEPENDS_ON,
    )


def fill(folder: Path, checkpoint: Path, base: Path) -> None:
    """What a model folder needs, of a resume point and the base: links where possible."""
    for name in FROM_CHECKPOINT:
        if (checkpoint / name).exists():
            link_or_copy(checkpoint / name, folder / name)
    for name in FROM_BASE:
        if (base / name).exists():
            link_or_copy(base / name, folder / name)


def describe(folder: Path, service: Service, settings: Settings) -> None:
    """Penalties and stop sequences of the run's own settings, for whoever generates with the version."""
    pieces = [(service.renderer().pieces(p.text), p.weight) for p in settings.logit_penalties]
    path = folder / GENERATION
    known = path if path.exists() else service.base() / GENERATION
    before = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    after = generation.config(before, pieces, settings.stop_sequences)
    if after != before:
        path.unlink(missing_ok=True)  # a link to the checkpoint's or the base's: never written through
        path.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fsync_file(path)


def into_place(service: Service, partial: Path, folder: Path) -> None:
    """Rename; what a crash left there is the same version, anything else is set aside, visibly.

    A release that a crash left there untold is made again from what the log has then: it just goes.
    """
    theirs = _text(folder / MANIFEST)
    if folder.exists() and theirs == _text(partial / MANIFEST):
        shutil.rmtree(partial)
        return
    if _is_release(theirs):
        discarded = service.workspace.temporary / f"{folder.name}.untold"
        discarded.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(discarded, ignore_errors=True)
        folder.rename(discarded)
        shutil.rmtree(discarded)
    elif folder.exists():
        aside = service.workspace.quarantine / f"{folder.name}.{os.getpid()}"
        folder.rename(aside)
        service.append(
            DriftFound(
                kind="foreign_version",
                path=service.workspace.relative(folder),
                detail="a folder that the log does not know had the next version's name",
                remedy=f"it lies in {service.workspace.relative(aside)}; look at it and delete it",
            )
        )
    partial.rename(folder)
    fsync_folder(folder.parent)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _is_release(manifest: str) -> bool:
    try:
        return bool(json.loads(manifest)["kind"] == "release")
    except (ValueError, KeyError, TypeError):
        return False


def show_current(service: Service) -> None:
    """`models/current_model` holds the files of the current version (the base model before there is one).

    Everything that changes is staged beside its place first, then renamed file by file, the weights last and
    the marker after them: at every moment the folder loads. Done again until it is so.
    """
    with _SHOWING:
        state, current = service.state(), service.workspace.current_model
        source = _source(service, state)
        for name in stage(service, source):
            os.replace(_aside(current / name), current / name)
        for name in {*FROM_CHECKPOINT, *FROM_BASE, CARD} - set(_names(source)):  # of the one before
            (current / name).unlink(missing_ok=True)
        for left in filter(Path.is_file, current.glob(".*.partial")):  # of a change cut short or not made
            left.unlink()
        fsync_folder(current)
        if not is_shown(service, state):
            marker = {"version": state.versions.current, "seq": state.seq}
            write_atomic(current / MARKER, (json.dumps(marker) + "\n").encode())


def is_shown(service: Service, state: State) -> bool:
    """Does the current model's marker, which comes last, name the current version?"""
    try:
        found = json.loads((service.workspace.current_model / MARKER).read_text(encoding="utf-8"))
        return bool(found["version"] == state.versions.current)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def stage(service: Service, source: Path) -> list[str]:
    """Put what the current model lacks of a model's folder beside its place; the names, weights last."""
    current = service.workspace.current_model
    current.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = [name for name in _names(source) if not _same(source / name, current / name)]
    for name in wanted:
        aside = _aside(current / name)
        if not _same(source / name, aside):
            aside.unlink(missing_ok=True)
            link_or_copy(source / name, aside)
    return wanted


def _source(service: Service, state: State) -> Path:
    if state.versions.current is None:
        return service.base()
    return service.workspace.root / state.versions.versions[state.versions.current].path


def _names(source: Path) -> list[str]:
    found = [path.name for path in source.iterdir() if path.is_file()]
    return sorted(found, key=lambda name: (name.endswith(".safetensors"), name))


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _same(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    if source.samefile(target):
        return True
    return source.stat().st_size == target.stat().st_size and sha256_of(source) == sha256_of(target)
