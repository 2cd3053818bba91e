"""Space decided: what a save and a run need, what is short, and what may go in which order."""

from dataclasses import replace

import pytest

from core.decide.disk import (
    KEPT_FOR,
    LOG_DAYS,
    QUARANTINE_DAYS,
    Found,
    amount,
    cleaned,
    needed_stores,
    old_logs,
    removable,
    run_needs,
    save_needs,
    shortage,
    waiting,
    watch_floor,
)
from core.settings import Settings
from events.types import (
    AlertCleared,
    AlertRaised,
    CheckpointSaved,
    CleanRequested,
    DiskCleaned,
    Event,
    FileQueued,
    FileReceived,
    FileRemoved,
    FileValidated,
    WorkspaceCreated,
)
from projections.disk import DAY_US
from projections.fold import EMPTY, State, fold
from tests.facts import recorded, sha, specimen

NOTHING = Found({}, {}, {}, {}, {})
SIZE = 1 << 20


def after(*facts: Event) -> State:
    return fold(recorded(list(facts)), EMPTY)


def file(name: str, store: str) -> list[Event]:
    """A waiting file whose tokens are in a store."""
    return [
        specimen(FileReceived, sha256=sha(name), name=name, original=name, priority="normal"),
        specimen(FileValidated, sha256=sha(name), store=store),
        FileQueued(sha256=sha(name), priority="normal"),
    ]


def made(parameters: int) -> Event:
    return specimen(WorkspaceCreated, parameters=parameters)


def saved(n: int, size: int) -> Event:
    return specimen(CheckpointSaved, path=f"models/current_model/checkpoint-{n}", size_bytes=size)


# -- needs -------------------------------------------------------------------------------------------


def test_a_save_takes_weights_and_two_moments_until_one_has_been_measured() -> None:
    parameters = 600_000_000
    first = save_needs(after(made(parameters)), "auto")
    half = save_needs(after(made(parameters)), "pure_bf16")

    assert 12 * parameters <= first < 12 * parameters + SIZE
    assert 6 * parameters <= half < 6 * parameters + SIZE
    assert 777 == save_needs(after(made(parameters), saved(1, 5), saved(2, 777)), "auto")


@pytest.mark.parametrize("held", range(6))
def test_a_run_adds_resume_points_up_to_one_more_than_are_kept(held: int) -> None:
    settings = replace(Settings(), checkpoints_keep=3)
    state = after(made(1), *(saved(n, 100) for n in range(held)))
    one = save_needs(state, "auto")

    assert (4 - min(held, 3)) * one + 30 + 4 == run_needs(state, settings, tokens=30, version=4)


def test_what_does_not_fit_is_said_with_both_figures() -> None:
    assert shortage("training a.jsonl", 5e9, 10e9, 5e9) is None
    told = shortage("training a.jsonl", 5e9, 10e9, 5e9 + 1)

    assert told is not None
    assert told.startswith("training a.jsonl needs 5.0 GB, 10.0 GB are free")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (2.5e12, "2500.0 GB")]
)
def test_amounts_are_in_the_units_of_the_settings(size: float, text: str) -> None:
    assert text == amount(size)


def test_an_alert_stands_as_long_as_its_reason() -> None:
    calm = after(made(1))
    (raised,) = waiting(calm, "publish", "no room")
    (low,) = watch_floor(calm, free=1.0, floor=2.0)
    troubled = after(made(1), raised, low)

    assert isinstance(raised, AlertRaised) and isinstance(low, AlertRaised)
    assert [] == waiting(troubled, "publish", "still no room") == watch_floor(troubled, free=1.0, floor=2.0)
    assert [AlertCleared(type="waiting:publish")] == waiting(troubled, "publish", None)
    assert [AlertCleared(type="waiting")] == watch_floor(troubled, free=2.0, floor=2.0)
    assert [] == waiting(calm, "publish", None) == watch_floor(calm, free=0.0, floor=0.0)


# -- what may go -------------------------------------------------------------------------------------


def test_the_cheapest_goes_first() -> None:
    state = after(made(1), *file("a", "kept"))
    long_ago = state.at - (QUARANTINE_DAYS * DAY_US + 1)
    found = Found(
        leftovers={"tmp/half": 1},
        quarantine={"quarantine/v1.1": 2},
        tokens={"tokens/unused": 3, "tokens/kept": 4},
        logs={"logs/daemon_20260101.log": 5, "logs/daemon_20260201.log": 6},
        retired={"models/current_model/checkpoint-1": 7},
    )
    items = removable(state, found, {"quarantine/v1.1": long_ago})

    assert [
        ("leftovers", "tmp/half", 1),
        ("quarantine", "quarantine/v1.1", 2),
        ("tokens", "tokens/unused", 3),
        ("logs", "logs/daemon_20260101.log", 5),
        ("retired", "models/current_model/checkpoint-1", 7),
    ] == [(item.kind, item.path, item.size) for item in items]


def test_what_was_set_aside_lately_or_by_nobody_knows_whom_stays() -> None:
    state = after(made(1))
    found = replace(NOTHING, quarantine={"quarantine/new": 1, "quarantine/strange": 1})

    assert [] == removable(state, found, {"quarantine/new": state.at - QUARANTINE_DAYS * DAY_US})


def test_tokens_stay_as_long_as_their_file_is_to_be_trained() -> None:
    for ended, kept in ((False, {"one"}), (True, set[str]())):
        facts = file("a", "one")
        if ended:
            facts.append(FileRemoved(sha256=sha("a"), reason="asked"))
        state = after(made(1), *facts)
        found = replace(NOTHING, tokens={"tokens/one": 1})

        assert (state.queue.entries[sha("a")].state in KEPT_FOR) is not ended
        assert kept == needed_stores(state)
        assert ended == bool(removable(state, found, {}))


def test_tokens_that_no_fact_knows_stay_while_a_file_is_checked() -> None:
    checking = after(made(1), specimen(FileReceived, sha256=sha("a"), priority="normal"))
    found = replace(NOTHING, tokens={"tokens/unknown": 1})

    assert "validating" == checking.queue.entries[sha("a")].state
    assert [] == removable(checking, found, {})
    assert ["tokens/unknown"] == [item.path for item in removable(after(made(1)), found, {})]


def test_logs_are_old_by_the_date_in_their_name_and_strangers_are_left_alone() -> None:
    names = [f"logs/daemon_202601{day:02d}.log" for day in range(1, 20)]
    strangers = [
        "logs/mine.log",
        "logs/daemon_20269999.log",
        "logs/daemon_2025.log",
        "logs/daemon_20250101.txt",
    ]

    assert names[: -(LOG_DAYS + 1)] == old_logs([*reversed(names), *strangers])
    assert [] == old_logs(strangers) == old_logs([names[0]])


def test_every_request_is_answered_and_nothing_is_told_where_nothing_was_freed() -> None:
    calm = after(made(1))
    asked = after(made(1), CleanRequested(), CleanRequested())

    assert [] == cleaned(calm, {}, "low")
    assert [DiskCleaned(freed_bytes=5, kinds={"logs": 5}, reason="low")] == cleaned(calm, {"logs": 5}, "low")
    assert [(3, 2), (0, 3)] == [
        (fact.freed_bytes, fact.request)
        for fact in cleaned(asked, {"logs": 3}, "asked for")
        if isinstance(fact, DiskCleaned)
    ]
    assert [2, 3] == [fact.request for fact in cleaned(asked, {}, "x") if isinstance(fact, DiskCleaned)]
