"""The self-test of a device: does what was only tried on a CPU hold on this card? Every check runs anywhere.

It trains a small random model made for it, on random rows, through the trainer's own functions. Tolerances
are those of rounding: a leak between rows, a forgotten moment or a wrong type differs by tenths.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core import ram
from core.decide.memory import GIB, estimate, on_device
from core.model.estimate import describe, device
from core.settings import Settings
from core.train import attention, checkpoint
from core.train.memory import Memory, build, recompute
from core.train.packed import Batch, batch_of
from core.train.refusals import PackingUnsafe
from core.train.trainer import Figures, StepTrainer, Work

PASSED, FAILED, ABSENT = "passed", "failed", "not here"
STEPS, SAVED_AFTER = 4, 2
SAME, NEAR, GOES_ON = 1e-5, 5e-2, 0.1  # relative differences: fp32, half precision, of steps done again


@dataclass(frozen=True, slots=True)
class Check:
    """`used`: training on this device rests on it, so that its failure is one of the device."""

    name: str
    result: str  # passed, failed or not here
    detail: str
    used: bool = True


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the random model and its micro-batches."""

    layers: int = 8
    hidden: int = 512
    vocabulary: int = 32_000
    tokens: int = 2048


def run(scratch: Path, sizes: Sizes, settings: Settings, base: Path | None = None) -> Iterator[Check]:
    """Every check, in order; `base`: also whether this model's rows are kept apart. `scratch` is an empty
    folder with room for the small model and a resume point of it."""
    made = scratch / "model"
    _make(made, sizes)
    memory = build(made, settings)
    yield dtypes(memory, sizes)
    yield from isolation(memory, "isolation")
    yield loss(memory, sizes)
    yield recomputation(memory, sizes)
    del memory
    _release()
    yield from resuming(scratch, made, sizes, settings)
    if base is not None:
        _release()
        yield from isolation(build(base, settings), f"isolation, {base.name}")


def dtypes(memory: Memory, sizes: Sizes) -> Check:
    """Parameters, gradients and moments are of the type asked for, products of autocast's."""
    model, computed = memory.model, set()
    stored = model.dtype
    linear = next(module for module in model.network.modules() if isinstance(module, torch.nn.Linear))
    watch = linear.register_forward_hook(lambda _, __, out: computed.add(out.dtype))
    model.train()
    model(next(_batches(sizes, memory)).to(model.device)).backward()
    watch.remove()
    gradients = {p.grad.dtype for p in model.parameters() if p.grad is not None}
    memory.optimizer.step()
    moments = {state["exp_avg"].dtype for state in memory.optimizer.state.values()}
    memory.optimizer.zero_grad(set_to_none=True)
    kinds = {
        "parameters": {p.dtype for p in model.parameters()}, "gradients": gradients, "moments": moments,
        "products": computed,
    }  # fmt: skip
    wanted = {name: {stored} for name in kinds} | {"products": {model.autocast_dtype or stored}}
    told = ", ".join(f"{name} {' and '.join(sorted(map(str, found)))}" for name, found in kinds.items())
    return Check("dtype", PASSED if kinds == wanted else FAILED, told.replace("torch.", ""))


def isolation(memory: Memory, name: str) -> Iterator[Check]:
    """Packed rows against single ones, by each way of attention; the first that agrees is the one used."""
    model = memory.model
    half = model.autocast_dtype is not None or model.dtype != torch.float32
    try:
        used = attention.choose(model)
    except PackingUnsafe as error:
        yield Check(name, FAILED, str(error))
        return
    for way in (attention.VARLEN, attention.DOCUMENTS, attention.STOCK):
        model.network.set_attn_implementation(way)
        try:
            found = attention.self_test(model)
        except (RuntimeError, NotImplementedError) as error:
            yield Check(f"{name}: {way}", ABSENT, type(error).__name__, used=way == used)
            continue
        safe = attention.is_safe(found, half=half)
        detail = f"loss differs by {found.loss:.1e}, gradient by {found.gradient:.1e}"
        detail += ", in use" if way == used else ""
        yield Check(f"{name}: {way}", PASSED if safe else FAILED, detail, used=way == used)
    model.network.set_attn_implementation(used)


def loss(memory: Memory, sizes: Sizes) -> Check:
    """The chunked loss with its gradient formed in the forward pass, against full logits."""
    model = memory.model
    batch = next(_batches(replace(sizes, tokens=min(sizes.tokens, 512)), memory)).to(model.device)
    states = model.hidden(batch, model.embed(batch)).detach()
    states = states.to(model.autocast_dtype or states.dtype)
    found = []
    for full in (True, False):
        part = states.clone().requires_grad_()
        if full:
            logits = part @ model.head.detach().to(part.dtype).T
            total = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
        else:
            total = model.loss_at(part, batch.targets)
        (gradient,) = torch.autograd.grad(total, part)
        found.append((total.detach().float(), gradient.float()))
    (whole, slope), (chunked, other) = found
    apart = float((whole - chunked).abs() / whole)
    differs = float((slope - other).norm() / slope.norm())
    within = SAME if states.dtype == torch.float32 else NEAR
    detail = f"loss differs by {apart:.1e}, gradient by {differs:.1e} (relative)"
    return Check("loss in chunks", PASSED if max(apart, differs) <= within else FAILED, detail)


def recomputation(memory: Memory, sizes: Sizes) -> Check:
    """Activations computed again give the same gradient as those that were kept."""
    model = memory.model
    batch = next(_batches(sizes, memory)).to(model.device)
    found = []
    for again in (False, True):
        recompute(memory, again)
        model.train()
        torch.manual_seed(1)
        model(batch).backward()
        found.append(torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None]))
        memory.optimizer.zero_grad(set_to_none=True)
    recompute(memory, False)
    differs = float((found[0] - found[1]).norm() / found[0].norm())
    half = model.autocast_dtype is not None or model.dtype != torch.float32
    bits = "the same bits" if torch.equal(*found) else f"differs by {differs:.1e}"
    return Check("recomputation", PASSED if differs <= (NEAR if half else SAME) else FAILED, bits)


def resuming(scratch: Path, base: Path, sizes: Sizes, settings: Settings) -> Iterator[Check]:
    """Steps after a resume point, done again from it in fresh memory; and the peak of all that."""
    before = ram.held()
    measured_anew = device() == "cuda" or ram.begin_peak()
    if device() == "cuda":
        torch.cuda.reset_peak_memory_stats()
    memory = build(base, settings)
    folder, kept = scratch / "resume-point", list(_batches(sizes, memory, 2 * STEPS))
    _train(memory, kept, 0, SAVED_AFTER, scratch)
    checkpoint.write(folder, memory.model.network, memory.optimizer, {})
    saved = _weights(memory)
    _train(memory, kept, SAVED_AFTER, STEPS, scratch)
    peak = torch.cuda.max_memory_reserved() if device() == "cuda" else ram.peak() - before
    gone_on = _weights(memory)
    del memory
    _release()
    fresh = build(base, settings)
    checkpoint.load(folder, fresh.model.network, fresh.optimizer)
    same = torch.equal(saved, _weights(fresh))
    _train(fresh, kept, SAVED_AFTER, STEPS, scratch)
    again = _weights(fresh)
    differs = float((again - gone_on).norm() / (gone_on - saved).norm())
    bits = "the same bits" if torch.equal(again, gone_on) else f"differs by {differs:.1e} of the change"
    good = same and differs <= (GOES_ON if device() == "cuda" else 0.0)
    yield Check("resume", PASSED if good else FAILED, f"{STEPS - SAVED_AFTER} steps done again: {bits}")
    yield _memory(base, sizes, settings, peak, measured_anew)


def _memory(base: Path, sizes: Sizes, settings: Settings, peak: int, measured_anew: bool) -> Check:
    """The measured peak is not above the high estimate (runtime apart)."""
    terms = estimate(
        describe(base).dimensions, tokens=sizes.tokens, precision=settings.precision,
        checkpointing=settings.gradient_checkpointing is True, device=device(),
    )  # fmt: skip
    sums = on_device([term for term in terms if term.name != "runtime"], device())
    bounds = f"{sums.low / GIB:.2f} to {sums.high / GIB:.2f} GiB estimated"
    if not measured_anew:
        return Check("memory", ABSENT, f"{bounds}; this kernel does not begin a peak anew", used=False)
    detail = f"peak {peak / GIB:.2f} GiB, {bounds}"
    return Check("memory", PASSED if peak <= sums.high else FAILED, detail)


def _make(folder: Path, sizes: Sizes) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(20)
    config = Qwen3Config(
        vocab_size=sizes.vocabulary, hidden_size=sizes.hidden, intermediate_size=3 * sizes.hidden,
        num_hidden_layers=sizes.layers, num_attention_heads=4, num_key_value_heads=2,
        head_dim=sizes.hidden // 4, tie_word_embeddings=True, max_position_embeddings=sizes.tokens,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)


def _batches(sizes: Sizes, memory: Memory, count: int = 1) -> Iterator[Batch]:
    """Rows of many lengths; two tokens in three are targets."""
    generator, vocabulary = np.random.default_rng(7), memory.model.head.shape[0]
    for _ in range(count):
        cuts = np.sort(generator.choice(np.arange(8, sizes.tokens - 8), size=6, replace=False))
        ids = np.split(generator.integers(2, vocabulary, sizes.tokens), cuts)
        labels = [np.append(False, generator.random(len(row) - 1) < 0.66) for row in ids]
        yield batch_of([pair for pair in zip(ids, labels, strict=True) if len(pair[0])])


def _train(memory: Memory, batches: list[Batch], first: int, last: int, folder: Path) -> None:
    """Steps `first` + 1 to `last`, of two micro-batches each."""
    works = (
        Work(step, step, 1e-3, tuple(batches[2 * step - 2 : 2 * step]), 0, 0)
        for step in range(first + 1, last + 1)
    )

    def goes_on(figures: Figures) -> bool:
        return figures.step < last

    StepTrainer(
        memory.model, memory.optimizer, works, last - first, seed=3, folder=folder, after_step=goes_on
    ).train()


def _weights(memory: Memory) -> Tensor:
    return torch.cat([p.detach().flatten().float().cpu() for p in memory.model.parameters()])


def _release() -> None:
    gc.collect()
    if device() == "cuda":
        torch.cuda.empty_cache()
