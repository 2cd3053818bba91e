"""The views of runs and files: what their templates print, and what their twins say."""

from typing import Any

from projections import reports
from projections.queue import PRIORITIES
from web import audit, readings, views
from web.present import Now, Seen
from web.sentences import line

PAGE = 50
FACTS_SHOWN = 30


def run_list(seen: Seen, now: Now, before: int | None = None) -> dict[str, Any]:
    """One page of runs, newest first. `before`: only those that began before this position."""
    every = reports.newest_runs(now.state)
    found = [run for run in every if before is None or run.first_started < before]
    shown, made = found[:PAGE], reports.versions_made(now.state)
    return {
        "runs": [
            reports.run_row(run, readings.steps_done(seen.log, run, seen.to), made.get(run.id))
            for run in shown
        ],
        "count": len(every), "older": shown[-1].first_started if len(found) > PAGE else None,
    }  # fmt: skip


def runs(seen: Seen, now: Now, before: int | None = None) -> dict[str, Any]:
    """The page of all runs."""
    return views.common(now) | {"page": run_list(seen, now, before), "before": before}


def run_document(seen: Seen, now: Now, name: str) -> dict[str, Any]:
    """One run. Raises KeyError."""
    found = now.state.run.runs[name]
    facts = seen.run_facts(found)
    return reports.run_report(now.state, found, facts) | {
        "facts": [{"seq": r.seq, "type": type(r.event).__name__} for r in reversed(facts.history)],
    }


def run(seen: Seen, now: Now, name: str) -> dict[str, Any]:
    """The page of one run. Raises KeyError."""
    facts = seen.run_facts(now.state.run.runs[name])
    document = reports.run_report(now.state, now.state.run.runs[name], facts)
    history = [line(recorded, now.state) for recorded in reversed(facts.history)]
    return views.common(now) | {
        "run": document, "percent": views.percent(document), "lines": history[:FACTS_SHOWN],
        "lines_count": len(history), "live": name == (now.document["run"] or {}).get("id"),
    }  # fmt: skip


def file(seen: Seen, now: Now, sha256: str) -> dict[str, Any]:
    """The page of one file. Raises KeyError for one that was never received."""
    document = reports.file_report(now.state, sha256)
    if document is None:
        raise KeyError(sha256)
    before = seen.to + 1 if seen.to is not None else None
    found = audit.search(seen.log, audit.Filter(stream=f"file/{sha256}", before=before))
    return views.common(now) | {
        "file": document, "lines": [line(fact, now.state) for fact in found.facts], "older": found.older,
        "priorities": PRIORITIES, "requests": views.requests(now, readings.ABOUT_FILES, sha256),
        "movable": document["state"] in ("waiting", "validating"),
        "retryable": now.state.queue.entries[sha256].may_reopen,
    }  # fmt: skip
