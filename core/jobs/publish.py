"""Publish: a completed run becomes a version, and the current model shows it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from core.config import parse
from core.decide import generation, versions
from core.files import fsync_file, fsync_folder, link_or_copy, sha256_of, write_atomic
from core.jobs.service import Service
from core.settings import Settings
from core.space import ensure_room
from events.types import DriftFound
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
#: Tells a person how to generate, where that takes telling.
CARD = "README.md"


def publish(service: Service) -> None:
    """Make the version that is due: staged, renamed into place, then a fact."""
    state = service.state()
    if not state.versions.due:
        if not _shows(service, state.versions.current):  # a full disk may have cut it short
            show_current(service)
        return
    due = state.versions.due[0]
    folder = service.workspace.versions / state.versions.next_id
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    ensure_room(service.workspace, f"the version {folder.name}", BESIDE_WEIGHTS)
    partial.mkdir(parents=True, mode=0o700)
    _fill(partial, service.workspace.root / due.event.checkpoint, service.base())
    _describe(partial, service, parse(state.run.runs[due.event.run].config))
    files = {
        p.name: {"sha256": sha256_of(p), "size_bytes": p.stat().st_size} for p in sorted(partial.iterdir())
    }
    log_seq, log_hash = service.log.commit_of(due.seq)
    document = versions.manifest(state, due, files, log_seq, log_hash.hex())
    (partial / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    fsync_file(partial / MANIFEST)
    fsync_folder(partial)
    _into_place(service, partial, folder)
    manifest_sha256 = sha256_of(folder / MANIFEST)
    path = service.workspace.relative(folder)
    _append(service, due, document, manifest_sha256, path)
    show_current(service)


def _append(service: Service, due: Due, document: dict[str, Any], manifest_sha256: str, path: str) -> None:
    service.decide(
        lambda state: (
            [versions.published(state, due, document, manifest_sha256, path)]
            if due in state.versions.due
            else []
        ),
        versions.DEPENDS_ON,
    )


def _fill(folder: Path, checkpoint: Path, base: Path) -> None:
    for name in FROM_CHECKPOINT:
        if (checkpoint / name).exists():
            link_or_copy(checkpoint / name, folder / name)
    for name in FROM_BASE:
        if (base / name).exists():
            link_or_copy(base / name, folder / name)


def _describe(folder: Path, service: Service, settings: Settings) -> None:
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
    if settings.stop_sequences is not None:
        (folder / CARD).write_text(generation.card(settings.stop_sequences), encoding="utf-8")
        fsync_file(folder / CARD)


def _into_place(service: Service, partial: Path, folder: Path) -> None:
    """Rename; what a crash left there is the same version, anything else is set aside, visibly."""
    if folder.exists():
        ours = (partial / MANIFEST).read_bytes()
        theirs = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).exists() else b""
        if ours == theirs:
            shutil.rmtree(partial)
            return
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


def show_current(service: Service) -> None:
    """`models/current_model` holds the files of the current version (the base model before there is one).

    File by file, each replaced atomically, the weights last: at every moment the folder loads.
    """
    state = service.state()
    current = service.workspace.current_model
    current.mkdir(parents=True, exist_ok=True, mode=0o700)
    if state.versions.current is not None:
        source = service.workspace.root / state.versions.versions[state.versions.current].path
    else:
        source = service.base()
    names = sorted((p.name for p in source.iterdir() if p.is_file()), key=lambda n: n == "model.safetensors")
    for name in names:
        if not _same(source / name, current / name):
            aside = current / f".{name}.partial"
            aside.unlink(missing_ok=True)
            link_or_copy(source / name, aside)
            os.replace(aside, current / name)
    for name in {*FROM_CHECKPOINT, *FROM_BASE, CARD} - set(names):  # of the one that was current before
        (current / name).unlink(missing_ok=True)
    fsync_folder(current)
    marker = json.dumps({"version": state.versions.current, "seq": state.seq}) + "\n"
    if _text(current / "evertrain.json").partition('"seq"')[0] != marker.partition('"seq"')[0]:
        write_atomic(current / "evertrain.json", marker.encode())


def _shows(service: Service, version: str | None) -> bool:
    """Was the current model brought to its end for this version?"""
    try:
        marker = json.loads(_text(service.workspace.current_model / "evertrain.json"))
        return bool(marker["version"] == version)
    except (ValueError, KeyError, TypeError):
        return False


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _same(source: Path, target: Path) -> bool:
    if not target.exists():
        return False
    if source.samefile(target):
        return True
    return source.stat().st_size == target.stat().st_size and sha256_of(source) == sha256_of(target)
