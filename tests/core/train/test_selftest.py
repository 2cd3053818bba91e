"""The self-test of a device, on the CPU: each check passes on what is right and fails on what is not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.cli.selftest import lines, told
from core.settings import Settings
from core.train import selftest
from core.train.memory import Memory, build
from core.train.selftest import ABSENT, FAILED, PASSED, Check, Sizes, run

SMALL = Sizes(layers=2, hidden=64, vocabulary=300, tokens=256)


@pytest.fixture(scope="module", params=["auto", "bf16"])
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo_base: Path
) -> list[Check]:
    settings = replace(Settings(), precision=request.param)
    return list(run(tmp_path_factory.mktemp("scratch"), SMALL, settings, demo_base))


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    selftest._make(tmp_path / "model", SMALL)
    yield build(tmp_path / "model", Settings())


def test_every_path_that_training_uses_here_passes(found: list[Check]) -> None:
    results = {check.name: check.result for check in found if check.used}

    assert {"dtype", "loss in chunks", "recomputation", "resume", "memory"} <= results.keys()
    assert {PASSED} == set(results.values())
    assert ["isolation", "isolation, tiny"] == [
        name.split(":")[0] for name in results if name.startswith("isolation")
    ]
    assert all(check.detail for check in found)


def test_a_way_that_this_device_does_not_have_is_told_and_is_no_failure(found: list[Check]) -> None:
    absent = [check for check in found if check.result == ABSENT]

    assert absent or torch.cuda.is_available()
    assert told(found)["ok"]
    assert not any(told(found)["fast_paths"][check.name] for check in absent)


def test_on_a_cpu_steps_done_again_give_the_same_bits(found: list[Check]) -> None:
    (resumed,) = [check for check in found if check.name == "resume"]

    assert torch.cuda.is_available() or resumed.detail.endswith("the same bits")


def test_a_parameter_of_another_type_is_found(memory: Memory) -> None:
    norm = memory.model.network.model.layers[0].self_attn.q_norm
    norm.weight.data = norm.weight.data.bfloat16()
    wrong = selftest.dtypes(memory, SMALL)

    assert FAILED == wrong.result
    assert "parameters bfloat16 and float32" in wrong.detail


def test_a_gradient_that_differs_when_it_is_computed_again_is_found(memory: Memory) -> None:
    layer, turns = memory.model.network.model.layers[0], []

    def drift(_: object, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        turns.append(1)  # a layer that remembers is not the same the second time
        return inputs[0] * (1 + 0.1 * (len(turns) > 2))

    layer.mlp.register_forward_pre_hook(drift)
    assert FAILED == selftest.recomputation(memory, SMALL).result


def test_a_peak_above_the_estimate_is_found(tmp_path: Path) -> None:
    selftest._make(tmp_path / "model", SMALL)
    low, high = (selftest._memory(tmp_path / "model", SMALL, Settings(), n << 20, True) for n in (1, 9999))

    assert (PASSED, FAILED) == (low.result, high.result)


def test_one_failure_of_what_is_used_fails_the_device_and_says_what_to_do() -> None:
    checks = [Check("dtype", PASSED, "right"), Check("isolation: sdpa", FAILED, "leaks", used=False)]

    assert told(checks)["ok"]
    assert "→" not in lines(told(checks))
    failed = told([*checks, Check("resume", FAILED, "differs by 9.0e-01 of the change")])
    assert not failed["ok"]
    assert "→ do not train on this card" in lines(failed)
    assert "failed    resume" in lines(failed)
