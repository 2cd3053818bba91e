"""Over-fitting: which evaluations raise the alert, when it is said again, when it goes."""

import pytest

from core.decide.overfitting import MARGIN, SERIOUS, WARN, WIDE, facts
from events.types import AlertCleared, AlertRaised, Event, TrainingCompleted, ValidationMeasured
from tests.facts import specimen
from tests.projections.story import Tale

LOWEST = 2.9


def begun() -> Tale:
    """A run that was measured before step 1, when its loss was lowest."""
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.queues("b")
    tale.starts("a", "r1", fixed_set=None)
    measures(tale, 0, None, loss=LOWEST)
    return tale


def measures(tale: Tale, step: int, gap: float | None, loss: float = 3.0, kind: str = "holdout") -> None:
    train_loss = None if gap is None else loss - gap
    tale.tell(specimen(ValidationMeasured, run="r1", kind=kind, step=step, loss=loss, train_loss=train_loss))


def decide(tale: Tale) -> list[Event]:
    """What the daemon appends at its next look."""
    made = facts(tale.state)
    tale.tell(*made)
    return made


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(None, None), (-1.0, None), (WARN - 0.01, None), (WARN + 0.01, "warning"), (SERIOUS - 0.01, "warning"),
     (SERIOUS + 0.01, "serious"), (9.0, "serious")],
)  # fmt: skip
def test_a_wide_gap_of_a_loss_that_rose_is_a_warning_and_a_wider_one_serious(
    gap: float | None, expected: str | None
) -> None:
    tale = begun()
    measures(tale, 5, gap)
    made = decide(tale)

    assert ([] if expected is None else [expected]) == [
        fact.severity for fact in made if isinstance(fact, AlertRaised)
    ]
    assert len(made) <= 1


@pytest.mark.parametrize(("loss", "expected"), [(LOWEST - 0.5, 0), (LOWEST, 0), (LOWEST + MARGIN - 0.005, 0),
                                               (LOWEST + MARGIN + 0.005, 1)])  # fmt: skip
def test_however_wide_the_gap_is_nothing_is_said_while_the_loss_is_near_its_lowest(
    loss: float, expected: int
) -> None:
    tale = begun()
    measures(tale, 5, 2 * SERIOUS, loss)

    assert expected == len(decide(tale))


def test_the_lowest_is_that_of_the_whole_run() -> None:
    tale = begun()
    for step in range(1, 8):
        measures(tale, step, 0.6, LOWEST + step * MARGIN / 3)

    assert 1 == len(decide(tale))


RISING = (2.90, 2.91, 2.92, 2.93)
STEP = MARGIN + 0.005
WIDENING = (WIDE - STEP, WIDE, WIDE + STEP, WIDE + 2 * STEP)


@pytest.mark.parametrize(
    ("gaps", "losses", "expected"),
    [
        (WIDENING, RISING, 1),
        (WIDENING, tuple(reversed(RISING)), 0),  # the loss falls: it learns
        (tuple(gap - WIDE for gap in WIDENING), RISING, 0),  # near nothing
        ((0.10, 0.10 + MARGIN / 2, 0.10 + MARGIN, 0.10 + 1.5 * MARGIN), RISING, 0),  # noise reaches this
        ((*WIDENING[:2], WIDENING[1], WIDENING[3]), RISING, 0),  # not in a row
        (WIDENING[1:], RISING[1:], 0),  # two in a row only
    ],
)
def test_a_gap_that_widens_over_three_evaluations_while_the_loss_rises_is_a_warning(
    gaps: tuple[float, ...], losses: tuple[float, ...], expected: int
) -> None:
    tale = begun()
    for step, (gap, loss) in enumerate(zip(gaps, losses, strict=True), 1):
        measures(tale, step, gap, loss)
    made = decide(tale)

    assert expected == len(made)
    assert all(isinstance(fact, AlertRaised) and "each of the last 3" in fact.detail for fact in made)


def test_it_is_said_once_until_it_grows_worse() -> None:
    tale, said = begun(), []
    for step, gap in enumerate((0.35, 0.4, 0.45, 0.6, 0.7, 0.4)):
        measures(tale, step, gap)
        said.append([getattr(fact, "severity", "") for fact in decide(tale)])

    assert [["warning"], [], [], ["serious"], [], ["warning"]] == said


def test_it_goes_when_the_gap_does_and_when_the_next_run_begins() -> None:
    tale = begun()
    measures(tale, 5, 0.4)
    decide(tale)
    measures(tale, 10, 0.1)
    first = decide(tale)
    measures(tale, 15, 0.6)
    decide(tale)
    tale.ends(TrainingCompleted, "a", "r1", 15)
    stays = decide(tale)
    tale.starts("b", "r2")
    second = decide(tale)

    assert [AlertCleared(type="overfitting")] == first == second
    assert [] == stays == decide(tale)


def test_another_run_is_told_of_anew() -> None:
    tale = begun()
    measures(tale, 5, 0.4)
    decide(tale)
    tale.ends(TrainingCompleted, "a", "r1", 15)
    tale.starts("b", "r2")
    for step, loss in ((0, 2.5), (5, 3.0)):
        tale.tell(
            specimen(ValidationMeasured, run="r2", kind="holdout", step=step, loss=loss, train_loss=2.6)
        )
    (made,) = decide(tale)

    assert isinstance(made, AlertRaised)
    assert made.detail.startswith("r2: b ")


def test_the_fixed_set_is_not_judged_but_names_the_best_step() -> None:
    tale = begun()
    tale.starts("a", "r1", fixed_set="0" * 64)
    for step, loss in ((0, 4.0), (5, 2.0), (10, 3.0)):
        measures(tale, step, 2.0, loss, kind="fixed")
    quiet = decide(tale)
    measures(tale, 10, 0.4)
    (made,) = decide(tale)

    assert [] == quiet
    assert isinstance(made, AlertRaised)
    assert "best was step 5: 2.000 (fixed)" in made.detail


def test_without_a_run_there_is_nothing_to_say() -> None:
    tale = Tale()
    tale.begins()

    assert [] == facts(tale.state)
