"""Why a process died: hard evidence before soft, and what is one and the same trouble."""

import pytest

from core.decide.crash import ERRNOS, EXCEPTIONS, PHRASES, SIGNALS, Evidence, Raised, analyse
from projections.crashes import MEANINGS, UNKNOWN

KEY_ERROR = Raised(("KeyError", "LookupError", "Exception"))


def category(**given: object) -> str:
    return analyse(Evidence("trainer", **given)).category  # type: ignore[arg-type]


def test_a_kill_is_the_kernels_only_if_it_says_so() -> None:
    assert "oom_killed" == category(signal="SIGKILL", oom_kills=1)
    assert "process_killed" == category(signal="SIGKILL")
    assert "segfault" == category(signal="SIGSEGV", oom_kills=1)


def test_a_signal_counts_more_than_what_was_noted_before_it() -> None:
    assert "segfault" == category(signal="SIGSEGV", raised=(KEY_ERROR,))
    assert "process_killed" == category(signal="SIGUSR1", raised=(KEY_ERROR,))
    assert "gone" == category(with_watchdog=True)


def test_the_errno_counts_more_than_the_class_and_the_class_more_than_the_text() -> None:
    assert "disk_full" == category(raised=(Raised(("OSError",), "ENOSPC"),))
    assert "value_error" == category(raised=(Raised(("ValueError",), None, ("CUDA error",)),))
    assert "cuda_error" == category(raised=(Raised(("RuntimeError",), None, ("CUDA error",)),))


def test_the_nearest_class_that_is_known_counts() -> None:
    assert "non_finite" == category(raised=(Raised(("NonFinite", "Refused", "RuntimeError", "Exception")),))
    assert "import_error" == category(raised=(Raised(("ModuleNotFoundError", "ImportError", "Exception")),))


def test_a_full_gpu_is_told_from_a_broken_one_whatever_the_order_of_the_words() -> None:
    said = ("CUDA error", "CUDA error: out of memory")

    assert "cuda_oom" == category(raised=(Raised(("RuntimeError",), None, said),))


def test_a_vague_exception_is_explained_by_what_led_to_it() -> None:
    vague, cause = Raised(("RuntimeError",)), Raised(("OSError",), "ENOSPC")

    assert "disk_full" == category(raised=(vague, cause))
    assert "runtime_error" == category(raised=(vague,))
    assert "key_error" == category(raised=(KEY_ERROR, cause))


@pytest.mark.parametrize("given", [{"exit_code": 7}, {"raised": (Raised(("MoonLanded", "Exception")),)}])
def test_without_evidence_nothing_is_made_up(given: dict[str, object]) -> None:
    assert UNKNOWN == category(**given)


def test_every_category_that_can_come_out_has_a_meaning_and_advice() -> None:
    tables = (SIGNALS, ERRNOS, EXCEPTIONS, PHRASES)
    possible = {found for table in tables for found in table.values()}

    assert MEANINGS.keys() == possible | {"gone", "oom_killed", "process_killed", UNKNOWN}
    assert all(meaning.cause and meaning.advice.endswith(".") for meaning in MEANINGS.values())


def test_the_signature_is_category_and_our_own_last_place_without_its_line() -> None:
    library = "torch/nn/functional.py:99 in linear"
    one = Evidence("trainer", raised=(KEY_ERROR,), frames=("core/train/run.py:3 in train", library))
    moved = Evidence("trainer", raised=(KEY_ERROR,), frames=("core/train/run.py:4 in train", library))
    other = Evidence("trainer", raised=(KEY_ERROR,), frames=("core/train/run.py:3 in save", library))

    assert "key_error · trainer · core/train/run.py in train" == analyse(one).signature
    assert analyse(one).signature == analyse(moved).signature != analyse(other).signature
    assert analyse(Evidence("daemon", frames=(library,))).signature.endswith(
        "torch/nn/functional.py in linear"
    )
    assert analyse(Evidence("trainer", signal="SIGKILL", phase="save")).signature.endswith("phase save")
