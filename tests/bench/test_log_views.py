"""A log of ten million steps: what a chart, a moment of the past, a page of the audit and a rebuild cost.

CPU milliseconds of one thread, on a RAM disk where there is one. BENCH_STEPS: another number of steps;
BENCH_LOG: a folder where the log is kept for the next time.
"""

import gc
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from core import kept
from core.logbook import open_log, state_at
from core.rebuilding import rebuild
from db.workspace import Workspace
from events.log import Log
from events.types import StepsCompleted
from projections import curves, moments, pins
from projections.fold import NUMERIC, Follower, State
from projections.stations import Stations
from tests.bench.table import tell, tell_of
from tests.bench.test_start_up import seconds_of
from tests.bench.years import CHUNK, Years, columns, write
from web import audit
from web.columns import COLUMNS
from web.past import Past
from web.stretch import Stretch
from web.trail import Span, Trail

STEPS = int(os.environ.get("BENCH_STEPS", 10_000_000))
SMALL = 245_000  # steps: about ten thousand facts
LOOKS, BETWEEN = 100, 1000

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


def _folder() -> Path | None:
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture(scope="module")
def years() -> Iterator[Years]:
    """The large log; `small` lies beside it."""
    kept = os.environ.get("BENCH_LOG")
    root = Path(kept) if kept else Path(tempfile.mkdtemp(dir=_folder()))
    noted = root / "years.json"
    if noted.exists():
        told = json.loads(noted.read_text(encoding="utf-8"))
        spikes = {int(step): loss for step, loss in told["spikes"].items()}
        found = Years(**told | {"path": Path(told["path"]), "spikes": spikes})
    else:
        wall, cpu = time.perf_counter(), time.process_time()
        found = write(root / "large", STEPS)
        write(root / "small", SMALL)
        spent = {"cpu_s": round(time.process_time() - cpu), "facts": found.events, "control": found.control}
        tell(f"generator, {found.steps:,} steps", "< 300 s", [time.perf_counter() - wall], **spent)
        noted.write_text(json.dumps(asdict(found) | {"path": str(found.path)}), encoding="utf-8")
    yield found
    if not kept:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def log(years: Years) -> Iterator[Log]:
    log = Log(years.path, "web")
    yield log
    log.close()


@pytest.fixture(scope="module")
def folded(log: Log) -> tuple[Past, State]:
    """As the monitor has it after its start: folded once, with the stations passed."""
    stations = Stations()
    follower = Follower(lambda after: log.read(after, but=NUMERIC), passed=stations.passed)
    began = time.process_time()
    state = follower.catch_up()
    tell("fold of all facts, once", "-", [time.process_time() - began], stations=len(stations))
    gc.collect()
    gc.freeze()  # what the other tests left is not to be gone through again and again
    return Past(log, follower.catch_up, stations), state


def cost(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what came of it."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def show(name: str, bar: str, spent: list[float], **more: Any) -> None:
    ordered = sorted(spent)
    parts = {"p50": ordered[len(ordered) // 2], "p95": ordered[int(len(ordered) * 0.95)], "max": ordered[-1]}
    tell(name, bar, spent, **{f"{key}_ms": round(part * 1e3, 2) for key, part in parts.items()}, **more)


def test_any_chart_is_one_short_range_and_keeps_every_spike(
    years: Years, log: Log, folded: tuple[Past, State]
) -> None:
    past, state = folded
    chance, head = random.Random(1), log.head()

    def chart(run: str | None, to: int | None) -> Trail:
        trail = Trail(log, run, to)
        trail.catch_up()
        return trail

    made = [metric for metric in curves.METRICS if metric != "penalty_mass"]  # all of them are made at once
    places = [chance.randrange(head // 10, head) for _ in range(LOOKS)]
    names = list(state.run.runs)
    latest = {at: past.state(at).run.latest for at in places}
    kinds: dict[str, Callable[[int], Trail]] = {
        "whole": lambda at: chart(None, None),
        "whole as of N": lambda at: chart(None, at),
        "run": lambda at: chart(chance.choice(names), None),
        "run as of N": lambda at: chart(latest[at], at),
    }
    furthest = Trail(log, None, None)
    furthest.catch_up()

    def zoomed(width: int, to: int | None) -> Stretch:
        first = chance.randrange(1, max(2, furthest.last_step - width))
        return Stretch(log, None, to, Span(first, first + width - 1))

    for width in (100, 3000, 15_000, 1_000_000):
        kinds[f"{width:,} steps"] = lambda at, width=width: zoomed(width, None)  # type: ignore[misc]
        kinds[f"{width:,} steps as of N"] = lambda at, width=width: zoomed(width, at)  # type: ignore[misc]
    whole = 0.0
    for name, draw in kinds.items():
        found = [cost(lambda at=at, draw=draw: draw(at)) for at in places]  # type: ignore[misc]
        each = [seconds / len(made) for seconds, _ in found]
        points = max(len(trail.columns("loss")) for _, trail in found)
        show(f"chart: {name}", "<= 5 ms, <= 2,000 points", each, points=points)
        whole = whole or statistics.median(each)
        assert points <= COLUMNS <= 2000
    scanned = head // 20
    seconds, _ = cost(lambda: log.reader.execute(
        "SELECT max(value), min(value), sum(value) FROM event, json_each(data, '$.columns.loss') "
        "WHERE event.type = 'StepsCompleted' AND seq <= ?", (scanned,),
    ).fetchone())  # fmt: skip
    tell("scan of the JSON", "chart >= 1,000 x", [20 * seconds], ratio=round(20 * seconds / whole))
    trail = chart(None, None)
    by_place = {column.first_step // trail.width: column for column in trail.columns("loss")}

    assert len(years.spikes) > STEPS // 100_000
    for step, value in years.spikes.items():
        assert by_place[step // trail.width].high >= value


def test_a_moment_of_the_past_is_near_wherever_it_lies(log: Log, folded: tuple[Past, State]) -> None:
    past, _ = folded
    chance, head = random.Random(2), log.head()
    places = [chance.randrange(head // 100, head - 5000) for _ in range(LOOKS)]
    jumps, steps, differences = list[float](), list[float](), list[float]()
    for at in places:
        jumps.append(cost(lambda at=at: moments.status_document(past.moment(at)))[0])  # type: ignore[misc]
        for way in (-1, 1, 1, -1, -1):
            at += way
            steps.append(cost(lambda at=at: past.moment(at))[0])  # type: ignore[misc]
    show("state as of any N", "p95 <= 100 ms", jumps)
    show("a step back or forth", "p95 <= 20 ms", steps)
    for at in places[: LOOKS // 2]:
        read = log.read(at, but=NUMERIC, page=BETWEEN + 1)
        to = max(fact.seq for fact in islice(read, BETWEEN))
        one, other = past.moment(at), past.moment(to)
        seconds, found = cost(
            lambda at=at, to=to, one=one, other=other:  # type: ignore[misc]
            moments.difference(one, other, past.between(at, to))
        )  # fmt: skip
        differences.append(seconds)
        assert all(change["set_by"] is None or at < change["set_by"] <= to for change in found["changes"])
    show(f"difference, {BETWEEN:,} facts", "p95 <= 200 ms", differences)


def test_a_pinned_value_leads_to_its_changes(log: Log, folded: tuple[Past, State]) -> None:
    past, _ = folded
    chance, head = random.Random(4), log.head()
    kinds = {
        "of one file": lambda: f"queue.entries.{chance.choice(names)}.state", "mode": lambda: "control.mode",
        "current version": lambda: "versions.current", "loss": lambda: "status.loss",
        "status": lambda: "status.status", "a whole": lambda: "queue",
    }  # fmt: skip
    for kind, path in kinds.items():
        spent, found = list[float](), 0
        for _ in range(LOOKS // 2):
            at = chance.randrange(head // 10, head)
            names = list(past.state(at).queue.entries)[:: 7]
            moment, pinned = past.moment(at), pins.pin(path())
            seconds, document = cost(
                lambda m=moment, p=pinned: pins.document(p, past, m, head, show=type)  # type: ignore[misc]
            )
            spent.append(seconds)
            found += document["set_by"] is not None
        show(f"pinned: {kind}", "milliseconds", spent, found=found)

        assert found > LOOKS // 4


def filters(log: Log, n: int = 200) -> list[audit.Filter]:
    """Filters that match something, at depths and in mixtures by chance."""
    chance, head = random.Random(3), log.head()
    found = []
    for _ in range(n):
        row = log.reader.execute(
            "SELECT type, actor, stream, at, data FROM event WHERE seq = ?", (chance.randrange(1, head + 1),)
        ).fetchone()
        run, cut = row[2].partition("run/")[2], chance.randrange(len(row[4]))
        found.append(audit.Filter(
            type=row[0] if chance.random() < 0.4 else "", actor=row[1] if chance.random() < 0.4 else "",
            stream=row[2] if chance.random() < 0.25 else "", since=row[3] if chance.random() < 0.2 else None,
            until=row[3] + 60_000_000 if chance.random() < 0.2 else None,
            before=chance.randrange(1, head) if chance.random() < 0.7 else None,
            steps=chance.random() < 0.3, run=run if chance.random() < 0.2 else "",
            text=row[4][cut : cut + 12] if chance.random() < 0.2 else "",
            correlation=chance.randrange(1, head) if chance.random() < 0.05 else None,
        ))  # fmt: skip
    return found


def test_a_page_of_the_audit_costs_the_same_in_a_large_log(years: Years, log: Log) -> None:
    small = Log(years.path.parent.parent / "small" / years.path.name, "web")
    of_small, of_large = filters(small), filters(log)
    for wanted in zip(of_small[:20], of_large[:20], strict=True):  # warm
        audit.search(small, wanted[0])
        audit.search(log, wanted[1])
    spent: dict[str, list[float]] = {"small": [], "large": []}
    for one, other in zip(of_small, of_large, strict=True):
        spent["small"].append(cost(lambda one=one: audit.search(small, one))[0])  # type: ignore[misc]
        spent["large"].append(cost(lambda other=other: audit.search(log, other))[0])  # type: ignore[misc]
    show(f"audit, {small.head():,} facts", "-", spent["small"])
    ratio = statistics.median(spent["large"]) / statistics.median(spent["small"])
    show(f"audit, {log.head():,} facts", "p95 <= 10 ms; ratio <= 1.5", spent["large"], ratio=round(ratio, 2))
    small.close()


def test_bytes_of_a_step() -> None:
    root = Path(tempfile.mkdtemp(dir=_folder()))
    workspace = Workspace(root / "workspace")
    workspace.lay_out()
    log = open_log(workspace, "trainer", create=True)
    pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    (empty,) = log.reader.execute(pages).fetchone()
    facts = 2000
    for n in range(facts):
        at = 1 + CHUNK * n
        log.append(StepsCompleted(run="r00001-0123abcd", attempt=1, first_step=at, first_global_step=at,
                                  n=CHUNK, columns=columns(seed=n)))  # fmt: skip
    (full,) = log.reader.execute(pages).fetchone()
    log.close()
    shutil.rmtree(root)
    each = (full - empty) / (facts * CHUNK)
    tell_of("a step, 64 a fact", "<= 100 bytes", [each], unit="bytes")

    assert each <= 100


def test_status_begins_at_the_kept_state(years: Years, log: Log) -> None:
    command = ("status", "--workspace", str(years.path.parent))
    kept.forget(log)
    tell("status, folded from the first fact", "-", [seconds_of(*command)[1] for _ in range(2)])
    kept.keep(log, state_at(log, log.head() - 3 * kept.FACTS // 4))
    cpu = [seconds_of(*command)[1] for _ in range(5)]
    tell("status, from the kept state", "<= 1.2 s", cpu, facts_since=3 * kept.FACTS // 4)
    kept.forget(log)


def test_everything_is_folded_again_with_progress(years: Years) -> None:
    log, said = open_log(Workspace(years.path.parent), "cli"), list[int]()
    wall = time.perf_counter()
    seconds, found = cost(lambda: rebuild(log, lambda seq, head: said.append(seq)))
    wall = time.perf_counter() - wall
    tell(f"rebuild, {years.steps:,} steps", "<= 120 s", [wall], cpu_s=round(seconds, 1), progress=len(said))
    log.close()

    assert [] == found
    assert said == sorted(said) and len(said) >= min(5, years.events // 50_000)
