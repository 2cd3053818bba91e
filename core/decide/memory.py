"""How much memory does training a model take, term by term? Dimensions in, bytes out.

Per parameter: fp32 master weights, gradients and two AdamW moments are 4 bytes each, 16 in all (Rajbhandari
et al. 2020, ZeRO, section 3.1, with the bf16 copy of autocast counted by itself); in pure bf16 2 bytes each.
Activations: the tensors that a decoder layer keeps for its backward pass, summed by shape as in Korthikanti
et al. 2022 (Reducing Activation Recomputation), for RMSNorm, grouped queries and SwiGLU; with recomputation
only each layer's input is kept, and one layer in full.
"""

from dataclasses import dataclass

GIB = 1 << 30
FUSED_SHARE = 0.55  # of an eager layer's activations, when norms, SwiGLU and rotation are fused
SPREAD = 1.15  # of what is summed by shape: fragments and short-lived copies
CHUNK_LOGITS = 1 << 24  # as in core.train.losses
RUNTIME_GIB = {"cuda": (0.6, 1.0, 1.4), "cpu": (0.4, 0.7, 1.2)}  # context and libraries, without any tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """A decoder of the Llama and Qwen kind."""

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


def estimate(
    model: Dimensions, *, tokens: int, precision: str, checkpointing: bool | str, device: str
) -> list[Term]:
    """The terms of one process that trains, with micro-batches of `tokens` tokens.

    `precision` and `checkpointing` as in Settings; `device` is cuda or cpu.
    """
    gpu = device == "cuda"
    recompute = gpu if checkpointing == "auto" else bool(checkpointing)
    stored = 2 if precision == "pure_bf16" else 4
    autocast = precision == "bf16" or (precision == "auto" and gpu)
    computed = 2 if autocast or stored == 2 else 4
    count = parameters(model)
    low, expected, high = RUNTIME_GIB[device]
    terms = [
        _exactly("weights", count * stored),
        _exactly("gradients", count * stored),
        _exactly("moments", 2 * count * stored),
        _activations(model, tokens, stored, computed, recompute),
        _logits(model, tokens, stored, computed),
        # a copy of weights and moments in main memory, from which resume points are written beside the steps
        Term("checkpoint buffer", 0, 3 * count * stored, 3 * count * stored, host=True),
        Term("runtime", int(low * GIB), int(expected * GIB), int(high * GIB)),
    ]
    if autocast:
        matrices = count - model.vocabulary * model.hidden * (1 if model.tied else 2)
        terms.insert(3, Term("autocast copies", 0, matrices * 2, count * 2))
    return terms


def total(terms: list[Term], *, host: bool | None = None) -> Term:
    """The sum; `host` False: of what is on the device alone."""
    chosen = [term for term in terms if host is None or term.host is host]
    return Term("total", *(sum(getattr(t, kind) for t in chosen) for kind in ("low", "expected", "high")))


def _exactly(name: str, size: int) -> Term:
    return Term(name, size, size, size)


def layer_bytes(model: Dimensions, computed: int) -> int:
    """Kept by one eager layer per token: projections, rotated and attended states, SwiGLU, norms in fp32."""
    query, key = model.query, model.key
    inner = computed * (4 * model.intermediate + (query + 2 * key) + (query + key) + query)
    norms = 8 * (query + key) if model.qk_norm else 0
    return inner + norms + (16 + 2 * computed) * model.hidden


def _activations(model: Dimensions, tokens: int, stored: int, computed: int, recompute: bool) -> Term:
    layer = layer_bytes(model, computed) * tokens
    if not recompute:
        whole = model.layers * layer
        return Term("activations", int(whole * FUSED_SHARE), whole, int(whole * SPREAD))
    inputs = model.layers * tokens * model.hidden * stored
    least = model.layers * tokens * model.hidden * computed + int(layer * FUSED_SHARE)
    return Term("activations", least, inputs + layer, int((inputs + layer) * SPREAD))


def _logits(model: Dimensions, tokens: int, stored: int, computed: int) -> Term:
    """A chunk of fp32 logits with its gradient and product, and the head's own gradient; never all logits."""
    rows = min(tokens, max(64, min(1024, CHUNK_LOGITS // model.vocabulary)))
    chunk = rows * model.vocabulary * 4
    head = model.vocabulary * model.hidden
    copies = 2 * head * computed if computed != stored else 0
    return Term("logits chunk", chunk, 3 * chunk + head * stored, 3 * chunk + head * stored + copies)
