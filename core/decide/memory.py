"""How much memory does training a model take, term by term, and what is chosen to make it fit?

Per parameter: fp32 master weights, gradients and two AdamW moments are 4 bytes each, 16 in all (Rajbhandari
et al. 2020, ZeRO, section 3.1, with the bf16 copy of autocast counted by itself); in pure bf16 2 bytes each.
Activations: the tensors that a decoder layer keeps for its backward pass, summed by shape as in Korthikanti
et al. 2022 (Reducing Activation Recomputation), as transformers' own modules keep them; with recomputation
only each layer's input is kept, and one layer in full, with the gradients that pass through it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.settings import Settings

GIB = 1 << 30
FUSED_SHARE = 0.55  # of an eager layer's activations, when norms, SwiGLU and rotation are fused
SPREAD = 1.15  # of what is summed by shape: fragments and short-lived copies
CHUNK_LOGITS = 1 << 24  # logits formed at a time: 64 MiB of fp32
#: Context and libraries, without any tensor; on a CPU also what the allocator does not give back.
RUNTIME_GIB = {"cuda": (0.4, 1.0, 1.4), "cpu": (0.25, 0.55, 1.0)}
MARGIN = 0.05  # of what is there, left free where there is a choice
MOST_HALVINGS = 3
RATIOS = (0.5, 2.0)  # between which a measured peak corrects what is expected
CARDS_GB = (6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 80)  # as they are sold


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """A decoder; `known`: of a kind whose activations the estimate knows, as Llama, Qwen and Gemma are."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    qk_norm: bool = False
    attention_bias: bool = False
    counted: int | None = None  # parameters in the model's files, where they are known
    norms: int = 2  # of a layer, those of queries and keys apart
    norm_bytes: int = 8  # kept per value by a norm: RMSNorm of transformers keeps two in fp32, LayerNorm one
    inner: int = 4  # values of the middle's width kept per token: gate, its activation, up, product
    known: bool = True

    @property
    def query(self) -> int:
        return self.heads * self.head_size

    @property
    def key(self) -> int:
        return self.kv_heads * self.head_size


@dataclass(frozen=True, slots=True)
class Term:
    """Bytes; `host`: in main memory even when the model is on a GPU."""

    name: str
    low: int
    expected: int
    high: int
    host: bool = False


def parameters(model: Dimensions) -> int:
    """Each parameter once: those in the files, else by shape."""
    if model.counted is not None:
        return model.counted
    attention = 2 * model.hidden * model.query + 2 * model.hidden * model.key
    if model.attention_bias:
        attention += model.query + 2 * model.key
    if model.qk_norm:
        attention += 2 * model.head_size
    layer = attention + 3 * model.hidden * model.intermediate + 2 * model.hidden
    embeddings = model.vocabulary * model.hidden * (1 if model.tied else 2)
    return embeddings + model.layers * layer + model.hidden


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes this process may have, with those it has already; on a CPU both are main memory."""

    device: str  # cuda or cpu
    device_bytes: int
    host_bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run is trained with; `ratio` as in `corrected`."""

    checkpointing: bool
    halvings: int
    tokens: int  # of the largest micro-batch, after halving
    terms: tuple[Term, ...]
    ratio: float


def chunk_rows(vocabulary: int) -> int:
    """Positions whose logits the loss forms at a time."""
    return max(64, min(1024, CHUNK_LOGITS // vocabulary))


def estimate(
    model: Dimensions, *, tokens: int, precision: str, checkpointing: bool, device: str
) -> tuple[Term, ...]:
    """The terms of one process that trains, with micro-batches of `tokens` tokens.

    `precision` as in Settings; `device` is cuda or cpu.
    """
    gpu = device == "cuda"
    stored = 2 if precision == "pure_bf16" else 4
    autocast = precision == "bf16" or (precision == "auto" and gpu)
    computed = 2 if autocast or stored == 2 else 4
    count = parameters(model)
    low, expected, high = RUNTIME_GIB[device]
    terms = [
        _exactly("weights", count * stored),
        _exactly("gradients", count * stored),
        _exactly("moments", 2 * count * stored),
        _activations(model, tokens, stored, computed, checkpointing),
        _logits(model, tokens, stored, computed),
        # a copy of weights and moments in main memory, from which resume points are written beside the steps
        Term("checkpoint buffer", 0, 3 * count * stored, 3 * count * stored, host=True),
        Term("runtime", int(low * GIB), int(expected * GIB), int(high * GIB)),
    ]
    if autocast:
        matrices = count - model.vocabulary * model.hidden * (1 if model.tied else 2)
        terms.insert(3, Term("autocast copies", 0, matrices * 2, count * 2))
    return tuple(terms)


def total(terms: Iterable[Term], *, host: bool | None = None) -> Term:
    """The sum; `host` False: of what is on the device alone."""
    chosen = [term for term in terms if host is None or term.host is host]
    return Term("total", *(sum(getattr(t, kind) for t in chosen) for kind in ("low", "expected", "high")))


def on_device(terms: Iterable[Term], device: str) -> Term:
    """What a measured peak is compared with: on a CPU all of the process, on a GPU what torch allocates."""
    if device == "cpu":
        return total(terms)
    return total((term for term in terms if term.name != "runtime"), host=False)


def corrected(whole: Term, ratio: float) -> Term:
    """A sum after a peak was measured: `ratio` of what had been expected, held within RATIOS."""
    expected = int(whole.expected * min(max(ratio, RATIOS[0]), RATIOS[1]))
    return Term(whole.name, min(whole.low, expected), expected, max(whole.high, expected))


def lacks(
    terms: tuple[Term, ...],
    room: Room,
    kind: str,
    *,
    ratio: float = 1.0,
    margin: float = 0.0,
    beside: bool = True,
) -> int:
    """Bytes by which the `low`, `expected` or `high` of the sums is more than there is; 0: it fits.

    `beside`: main memory beside a card is looked at as well.
    """
    sums = [(total(terms), room.host_bytes)]
    if room.device == "cuda":
        sums = [(total(terms, host=False), room.device_bytes), (total(terms, host=True), room.host_bytes)]
        sums = sums if beside else sums[:1]
    wanted = [(corrected(sums[0][0], ratio), sums[0][1]), *sums[1:]]
    short = [int(getattr(whole, kind)) - int(there * (1 - margin)) for whole, there in wanted]
    return max(0, *short)


def choose(
    model: Dimensions,
    settings: Settings,
    room: Room,
    largest: Callable[[int], int],
    ratio: Callable[[bool, int], float] = lambda checkpointing, tokens: 1.0,
) -> Choice:
    """Recomputation and the size of a micro-batch for a run.

    `largest(h)`: tokens of the largest micro-batch after h halvings; `ratio(checkpointing, tokens)`: what was
    measured of such a run / what was expected. With `auto`, activations are recomputed unless the high
    estimate without fits with a margin; micro-batches are halved until what is expected fits, and no more:
    every halving rounds in its own way.
    """

    def tried(checkpointing: bool, halvings: int) -> Choice:
        tokens = largest(halvings)
        terms = estimate(
            model, tokens=tokens, precision=settings.precision, checkpointing=checkpointing,
            device=room.device,
        )  # fmt: skip
        return Choice(checkpointing, halvings, tokens, terms, ratio(checkpointing, tokens))

    wanted = settings.gradient_checkpointing
    chosen = tried(wanted is True, 0)
    # what is in main memory beside a card, nothing of this makes smaller
    if wanted == "auto" and lacks(
        chosen.terms, room, "high", ratio=chosen.ratio, margin=MARGIN, beside=False
    ):
        chosen = tried(True, 0)
    for halvings in range(1, MOST_HALVINGS + 1):
        if not lacks(chosen.terms, room, "expected", ratio=chosen.ratio, beside=False):
            break
        smaller = tried(chosen.checkpointing, halvings)
        if smaller.tokens < chosen.tokens:  # else every row is a part of its own already
            chosen = smaller
    return chosen


def cards(model: Dimensions, settings: Settings) -> dict[int, Choice]:
    """The sizes of cards, in GB as sold, on which even the high estimate fits, and what is chosen there."""
    found = {}
    for size in CARDS_GB:
        room = Room("cuda", size * 10**9, 1 << 62)
        chosen = choose(model, settings, room, lambda times: capacity(settings, times))
        if not lacks(chosen.terms, room, "high"):
            found[size] = chosen
    return found


def capacity(settings: Settings, halvings: int) -> int:
    """Tokens of a full micro-batch after so many halvings, where no file is known yet."""
    return int(settings.batch_size * settings.max_length // 2**halvings)


def words(terms: Iterable[Term], ratio: float = 1.0) -> str:
    """The sum as a person reads it, in GiB: `weights 2.22 + ... = 12.39 (11.31 to 13.52)`."""
    terms = tuple(terms)
    whole = corrected(total(terms), ratio)
    parts = " + ".join(f"{term.name} {term.expected / GIB:.2f}" for term in terms)
    measured = "" if ratio == 1.0 else f", x {ratio:.2f} as measured"
    bounds = f"{whole.low / GIB:.2f} to {whole.high / GIB:.2f}"
    return f"{parts}{measured} = {whole.expected / GIB:.2f} GiB ({bounds})"


def _exactly(name: str, size: int) -> Term:
    return Term(name, size, size, size)


def layer_bytes(model: Dimensions, stored: int, computed: int) -> int:
    """Kept by one eager layer per token: projections, rotated and attended states, the middle, norms."""
    query, key = model.query, model.key
    inner = computed * (model.inner * model.intermediate + (query + 2 * key) + (query + key) + query)
    norms = (8 if stored == computed else 6) * (query + key) if model.qk_norm else 0
    # autocast casts what enters each of the five projections anew
    inputs = 2 * computed if stored == computed else 5 * computed
    return inner + norms + (model.norms * model.norm_bytes + inputs) * model.hidden


def _activations(model: Dimensions, tokens: int, stored: int, computed: int, recompute: bool) -> Term:
    layer = layer_bytes(model, stored, computed) * tokens
    spread = SPREAD if model.known else 2 * SPREAD
    if not recompute:
        whole = model.layers * layer
        return Term("activations", int(whole * FUSED_SHARE), whole, int((whole + layer) * spread))
    inputs = model.layers * tokens * model.hidden * stored
    least = model.layers * tokens * model.hidden * computed + int(layer * FUSED_SHARE)
    return Term("activations", least, inputs + 2 * layer, int((inputs + 2 * layer) * spread))


def _logits(model: Dimensions, tokens: int, stored: int, computed: int) -> Term:
    """A chunk of fp32 logits with its gradient and product, and the head's own gradient; never all logits.

    A tied embedding's gradient is made apart from the head's before they are added: but then the activations
    are gone already, so only `high` counts it.
    """
    rows = min(tokens, chunk_rows(model.vocabulary))
    chunk = rows * model.vocabulary * 4
    head = model.vocabulary * model.hidden
    copies = 2 * head * computed if computed != stored else 0
    again = head * stored if model.tied else 0
    expected = 3 * chunk + head * stored
    return Term("logits chunk", chunk, expected, expected + copies + again)
