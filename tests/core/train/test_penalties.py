"""Logit penalties: where they act, the gradient against full logits, and what training makes of them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.decide import memory
from core.decide.batches import lay_out
from core.intake.template import Renderer
from core.intake.validate import examine
from core.model.docstrings import harvest
from core.settings import Penalty
from core.train.losses import biased_cross_entropy, summed_cross_entropy
from core.train.memory import build
from core.train.packed import Batch, PackedModel, batch_of
from core.train.penalties import Penalised, biased
from core.train.validation import Holdout
from events.types import FileQueued, FileReceived, FileValidated, StepsCompleted
from tests.core.train.stand import Stand, column

WIDTH, VOCABULARY = 16, 300
TAG = "<think>"


def rows(*ids: Sequence[int]) -> Batch:
    """Packed rows of which all but the first token are targets."""
    return batch_of([(np.array(row), (np.arange(len(row)) > 0).astype(np.uint8)) for row in ids])


def entries(batch: Batch, *penalties: Penalised) -> dict[int, dict[int, float]]:
    """Target number → token → weight."""
    bias = biased(batch, penalties).bias
    assert bias is not None
    found: dict[int, dict[int, float]] = {}
    columns = (bias.rows.tolist(), bias.tokens.tolist(), bias.weights.tolist())
    for row, token, weight in zip(*columns, strict=True):
        found.setdefault(row, {})[token] = weight
    return found


def test_one_token_is_made_likelier_wherever_the_data_has_another() -> None:
    assert {0: {7: 5.0}, 2: {7: 5.0}} == entries(rows([1, 2, 7, 3]), Penalised((7,), 5.0))


def test_a_sequence_is_continued_only_where_it_began() -> None:
    # predicted: 7 after 1, 8 after 7, 1 after 8, 9 after 1
    found = entries(rows([1, 7, 8, 1, 9]), Penalised((7, 8, 9), 2.0))

    assert {1: {7: 2.0}, 2: {7: 2.0, 9: 2.0}, 3: {7: 2.0}} == found


def test_progress_stays_inside_one_row_of_a_packed_batch() -> None:
    whole, apart = rows([1, 7, 8, 3]), rows([1, 7], [8, 3])
    penalty = Penalised((7, 8, 3), 2.0)

    assert {7: 2.0} == entries(whole, penalty)[1]
    # the second row begins with 8: the 7 before it is another row's
    assert {1: {7: 2.0}} == entries(apart, penalty)


def test_a_sequence_that_repeats_its_beginning_is_followed_at_each() -> None:
    found = entries(rows([7, 7, 1, 2]), Penalised((7, 7, 8), 1.0))

    assert {1: {7: 1.0, 8: 1.0}, 2: {7: 1.0}} == found


def test_two_penalties_on_a_token_add_up() -> None:
    assert 3.0 == entries(rows([1, 2]), Penalised((7,), 1.0), Penalised((7, 8), 2.0))[0][7]


@pytest.mark.parametrize("chunk", [64, 500])
def test_loss_mass_and_gradient_are_those_of_full_biased_logits(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CHUNK_LOGITS", chunk * VOCABULARY)
    torch.manual_seed(3)
    hidden = torch.randn(500, WIDTH, requires_grad=True)
    head = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    batch = rows(torch.randint(0, 9, (501,)).tolist())
    bias = biased(batch, [Penalised((4,), 5.0), Penalised((2, 3, 2), 80.0)]).bias
    assert bias is not None
    ours = biased_cross_entropy(hidden, head, batch.targets, bias)
    gradients = torch.autograd.grad(ours.objective / 500, (hidden, head))
    logits = hidden @ head.T
    table = torch.zeros_like(logits).index_put((bias.rows, bias.tokens), bias.weights)
    full = torch.nn.functional.cross_entropy(logits + table, batch.targets, reduction="sum")
    references = torch.autograd.grad(full / 500, (hidden, head), retain_graph=True)

    assert pytest.approx(full.item(), rel=1e-5) == ours.objective.item()
    plain = summed_cross_entropy(hidden, head, batch.targets)
    assert pytest.approx(plain.item(), rel=1e-6) == ours.plain.item()
    assert pytest.approx(logits.softmax(-1)[table > 0].sum().item(), rel=1e-4) == ours.mass.item()
    for mine, other in zip(gradients, references, strict=True):
        assert float((mine - other).norm() / other.norm()) < 1e-5


def test_without_weight_nothing_changes() -> None:
    torch.manual_seed(4)
    hidden, head = torch.randn(20, WIDTH), torch.randn(VOCABULARY, WIDTH)
    batch = rows(torch.randint(0, 9, (21,)).tolist())
    bias = biased(batch, [Penalised((4,), 0.0)]).bias
    assert bias is not None
    found = biased_cross_entropy(hidden, head, batch.targets, bias)

    assert found.objective.item() == found.plain.item()
    assert 0 == bias.positions == found.mass.item()


def queue_chats(stand: Stand, count: int) -> str:
    """A file of chats of which every fourth answer begins with the tag, validated and queued; its hash."""
    chats = harvest(0, count)
    for row in chats[::4]:
        row["messages"][-1]["content"] = f"{TAG}\n" + row["messages"][-1]["content"]
    path = stand.workspace.queue / "processing" / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chats), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    renderer = Renderer(stand.workspace.models / "tiny")
    report = examine(
        path, sha256=sha256, renderer=renderer, settings=stand.settings, store=stand.workspace.tokens
    )
    stand.log.append(
        FileReceived(
            sha256=sha256, name=path.name, original=path.name, priority="normal", size_bytes=1,
            source_inode=1, source_mtime_ns=1,
        ),
        FileValidated(
            sha256=sha256, verdict=report.verdict, format=report.format, rows=report.rows,
            accepted_rows=report.accepted_rows, dropped_rows=report.dropped_rows, tokens=report.tokens,
            trainable_tokens=report.trainable_tokens, counts={}, warnings=(), store=report.store or "",
            seconds=0.0,
        ),
        FileQueued(sha256=sha256, priority="normal"),
    )  # fmt: skip
    return sha256


def held_out(stand: Stand, sha256: str, penalty: Penalised) -> tuple[float, float]:
    """After training, on rows never trained: mean mass on the token, and loss where it is not the target."""
    (folder,) = stand.workspace.current_model.glob("checkpoint-*")
    model: PackedModel = build(folder, stand.settings).model
    store, settings = stand.store(sha256), stand.settings
    layout = lay_out(store.hashes, store.lengths, settings, sha256=sha256)
    held = Holdout(store, layout.holdout_rows, max_length=settings.max_length, batch_size=settings.batch_size)
    mass = loss = 0.0
    positions = 0
    model.eval()
    with torch.no_grad():
        for batch in held.batches():
            others = batch.targets != penalty.ids[0]
            elsewhere = replace(batch, targets=batch.targets[others], predictors=batch.predictors[others])
            found: Any = model(biased(elsewhere, [penalty]))
            mass += float(found.mass)
            loss += float(found.plain)
            positions += int(others.sum())
    return mass / positions, loss / positions


@pytest.mark.parametrize(
    "chats", [160, pytest.param(600, marks=[pytest.mark.chaos, pytest.mark.timeout(1800)])]
)
def test_a_penalty_on_a_tag_that_the_data_has_takes_nine_tenths_of_its_mass_and_costs_nothing_elsewhere(
    make_stand: Callable[..., Stand], demo_base: Path, chats: int
) -> None:
    changed: dict[str, Any] = {
        "max_length": 256, "eval_steps": 1000, "save_steps": 1000, "validation_fraction": 0.3,
        "validation_max_rows": 48, "gradient_accumulation": 1, "epochs": 4,
    }  # fmt: skip
    free = make_stand("free", demo_base, **changed)
    held = make_stand("held", demo_base, **changed, logit_penalties=(Penalty(TAG, 5.0),))
    penalty = Penalised(Renderer(demo_base).pieces(TAG), 5.0)
    measured = []
    for stand in (free, held):
        sha256 = queue_chats(stand, chats)
        stand.start(sha256)
        stand.train()
        measured.append(held_out(stand, sha256, penalty))
    (mass_free, loss_free), (mass_held, loss_held) = measured
    print(f"mass {mass_held / mass_free:.4f}, loss elsewhere {loss_held / loss_free:.4f} of those without")

    assert 1 == len(penalty.ids)
    assert mass_held <= mass_free / 10
    assert loss_held <= 1.02 * loss_free
    assert all({"objective", "penalty_mass"}.isdisjoint(r.event.columns) for r in free.facts(StepsCompleted))
    # what is trained is never below what is recorded as the loss
    assert all(o >= p for o, p in zip(column(held, "objective"), column(held, "loss"), strict=True))
    assert column(held, "penalty_mass")[-1] < column(held, "penalty_mass")[0]
