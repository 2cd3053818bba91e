"""The loss: what full logits would give, without ever having them."""

import pytest
import torch
from torch import Tensor

from core.decide import memory
from core.train.losses import summed_cross_entropy

WIDTH, VOCABULARY = 16, 300


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    hidden = torch.randn(500, WIDTH, requires_grad=True)
    head = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    return hidden, head, torch.randint(0, VOCABULARY, (500,))


@pytest.mark.parametrize("chunk", [64, 100, 500, 1024])
def test_loss_and_gradients_are_those_of_full_logits(
    given: tuple[Tensor, Tensor, Tensor], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CHUNK_LOGITS", chunk * VOCABULARY)
    hidden, head, targets = given
    loss = summed_cross_entropy(hidden, head, targets)
    ours = torch.autograd.grad(loss / 500, (hidden, head))
    full = torch.nn.functional.cross_entropy(hidden @ head.T, targets, reduction="sum")
    theirs = torch.autograd.grad(full / 500, (hidden, head))

    assert pytest.approx(full.item(), rel=1e-6) == loss.item()
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).norm() / other.norm()) < 1e-6


def test_the_gradients_hold_against_finite_differences() -> None:
    torch.manual_seed(4)
    hidden = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    head = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 6, 3, 3, 1])
    ours = torch.autograd.grad(summed_cross_entropy(hidden, head, targets), (hidden, head))
    step = 1e-2

    for tensor, gradient in zip((hidden, head), ours, strict=True):
        for index in range(tensor.numel()):
            sums = []
            for sign in (1, -1):
                with torch.no_grad():
                    tensor.view(-1)[index] += sign * step
                    sums.append(float(summed_cross_entropy(hidden, head, targets)))
                    tensor.view(-1)[index] -= sign * step
            assert pytest.approx((sums[0] - sums[1]) / (2 * step), abs=2e-3) == float(
                gradient.view(-1)[index]
            )


def test_without_gradient_the_loss_is_the_same_number(given: tuple[Tensor, Tensor, Tensor]) -> None:
    trained = summed_cross_entropy(*given)
    with torch.no_grad():
        measured = summed_cross_entropy(*given)

    assert trained.item() == measured.item()
    assert not measured.requires_grad


def test_half_precision_states_keep_a_full_precision_gradient_of_the_head(
    given: tuple[Tensor, Tensor, Tensor],
) -> None:
    hidden, head, targets = given
    loss = summed_cross_entropy(hidden.detach().bfloat16().requires_grad_(), head, targets)
    (gradient,) = torch.autograd.grad(loss, head)
    full = torch.nn.functional.cross_entropy(hidden @ head.T, targets, reduction="sum")
    (reference,) = torch.autograd.grad(full, head)

    assert torch.float32 == gradient.dtype == loss.dtype
    assert float((gradient - reference).norm() / reference.norm()) < 2e-2
    assert pytest.approx(full.item(), rel=1e-2) == loss.item()


def test_an_infinite_state_gives_a_loss_that_is_not_finite(given: tuple[Tensor, Tensor, Tensor]) -> None:
    hidden, head, targets = given
    broken = hidden.detach().clone()
    broken[7, 0] = float("inf")

    assert not torch.isfinite(summed_cross_entropy(broken, head, targets))
