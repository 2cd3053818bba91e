"""Resume points on disk: weights, moments and position of one instant, whole or not there at all.

Written beside their place, every file synced, the manifest last, then renamed: a folder with the final name
is complete. Whether it counts is the log's word (`CheckpointSaved`), with the manifest's hash. No pickle
anywhere.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.direct import DirectFile
from core.files import fsync_file, fsync_folder, sha256_of
from core.train import moments
from core.train.refusals import CheckpointDamaged
from core.train.snapshot import Image, image
from events.heartbeat import moved

WEIGHTS = "model.safetensors"
MOMENTS = "optimizer.safetensors"
POSITION = "state.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written; the hashes are SHA-256 of whole files."""

    manifest_sha256: str
    weights_sha256: str
    moments_sha256: str
    size_bytes: int
    seconds: float


def write(folder: Path, network: Any, optimizer: torch.optim.Optimizer, position: Mapping[str, Any]) -> Saved:
    """Write a resume point of what is in memory now at `folder`; see `put`."""
    return put(folder, images(network, optimizer), network, position)


def images(network: Any, optimizer: torch.optim.Optimizer) -> dict[str, Image]:
    """The files of weights and moments to be, live: they follow whatever changes the tensors."""
    return {WEIGHTS: image(weights(network)), MOMENTS: image(moments.read(network, optimizer))}


def put(folder: Path, files: Mapping[str, Image], network: Any, position: Mapping[str, Any]) -> Saved:
    """Write a resume point at `folder`, which must not exist. Returns once it is on the disk.

    `files` must not change meanwhile. `network` is a transformers model, so the folder also loads with
    from_pretrained; `position` goes to state.json. Raises OSError when the disk refuses; then nothing but a
    partial folder is left, and that is removed.
    """
    began = time.monotonic()
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        known = {name: _store(content, partial / name) for name, content in files.items()}
        network.config.save_pretrained(partial)
        if network.generation_config is not None:
            network.generation_config.save_pretrained(partial)
        (partial / POSITION).write_text(json.dumps(dict(position), indent=2, sort_keys=True) + "\n")
        for path in partial.iterdir():
            fsync_file(path)
            moved()
        sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
        entries = {
            name: {"sha256": known.get(name) or sha256_of(partial / name), "size": size}
            for name, size in sizes.items()
        }
        manifest = json.dumps({"files": entries, "position": dict(position)}, indent=2, sort_keys=True) + "\n"
        (partial / MANIFEST).write_text(manifest)
        fsync_file(partial / MANIFEST)
        fsync_folder(partial)
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync_folder(folder.parent)
    return Saved(
        hashlib.sha256(manifest.encode()).hexdigest(),
        known[WEIGHTS],
        known[MOMENTS],
        sum(sizes.values()) + len(manifest.encode()),
        time.monotonic() - began,
    )


def weights(network: Any) -> dict[str, Tensor]:
    """Every parameter and stored buffer once: a head tied to the embedding is absent, as readers expect."""
    parameters = dict(network.named_parameters())
    every = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    kept = {name: buffer for name, buffer in network.state_dict().items() if name not in every}
    return {name: tensor.detach().contiguous() for name, tensor in {**parameters, **kept}.items()}


def load(folder: Path, network: Any, optimizer: torch.optim.Optimizer) -> None:
    """Copy a verified resume point into the model and optimizer in memory.

    Copied into the tensors that are there, which torch allocated: the same alignment gives the same bits.
    Raises CheckpointDamaged when it belongs to another model.
    """
    load_weights(folder, network)
    with _opened(folder / MOMENTS) as stored:
        try:
            moments.put(network, optimizer, stored)
        except KeyError as error:
            raise CheckpointDamaged(f"{folder.name}/{MOMENTS}: {error.args[0]}") from error


def load_weights(folder: Path, network: Any) -> None:
    """Copy the weights of a verified folder into the model in memory. Raises CheckpointDamaged."""
    target = weights(network)
    with _opened(folder / WEIGHTS) as stored, torch.no_grad():
        if set(stored.keys()) != set(target):
            raise CheckpointDamaged(
                f"{folder.name}/{WEIGHTS} holds other parameters than this model has: "
                f"{sorted(set(stored.keys()) ^ set(target))[:3]}; was the base model exchanged?"
            )
        for name, tensor in target.items():
            tensor.copy_(stored.get_tensor(name))
            moved()


def move_aside(folder: Path, aside: Path) -> Path | None:
    """Free the name `folder` by moving what lies there into the folder `aside`; None when nothing does."""
    if not os.path.lexists(folder):
        return None
    aside.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = 1
    while (place := aside / f"{folder.name}.{number}").exists():
        number += 1
    os.rename(folder, place)
    fsync_folder(folder.parent)
    return place


def sweep(parent: Path) -> int:
    """Remove what interrupted saves left beside the resume points; how many there were."""
    left = [path for path in parent.glob(".checkpoint-*.partial-*") if path.is_dir()]
    for path in left:
        shutil.rmtree(path)
    return len(left)


def _store(content: Image, path: Path) -> str:
    """Write a file; its SHA-256. Each piece is hashed and copied while it is in the processor's cache."""
    digest = hashlib.sha256()
    with DirectFile(path, content.size) as file:
        for piece in content.pieces():
            digest.update(piece)
            file.write(piece)
            moved()
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except (SafetensorError, OSError) as error:
        raise CheckpointDamaged(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
