"""The table of jobs, and APScheduler to run them: late is fine, twice is not."""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from core.decide import overfitting
from core.decide.disk import ALERTS, waiting
from core.jobs.alerts import Alerts
from core.jobs.arrange import arrange
from core.jobs.backup import Backups
from core.jobs.configuration import configuration
from core.jobs.consolidation import Consolidation
from core.jobs.disk import Disk
from core.jobs.dispatch import answer, give_up, start_next
from core.jobs.fixed import fixed_set
from core.jobs.poll import poll
from core.jobs.publish import publish
from core.jobs.reconcile import EVERY as RECONCILE_EVERY
from core.jobs.reconcile import reconcile
from core.jobs.retention import Retention
from core.jobs.samples import EVERY, Samples, beat
from core.jobs.service import Service
from core.jobs.showing import Journal, StatusFile
from core.jobs.snapshots import Snapshots
from core.jobs.validate import Interrupted, validate_all
from core.jobs.versions import keep_versions
from core.logbook import backfill
from core.settings import RANGES
from db.reserve import LogFull, is_full
from events.heartbeat import moved
from events.types import AlertCleared, JobFailed

BETWEEN_SLICES = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    every: float  # seconds
    work: Callable[[Service], object]
    phase: str = "save"  # whose limit it has while it stands still: of work that waits for disks


class Inbox:
    """The poll, when it last looked, and what it said."""

    def __init__(self) -> None:
        self.empty = False  # no look yet
        self._looked = -math.inf
        self._failed: Exception | None = None  # of the last look

    def poll(self, service: Service) -> None:
        """Look if `poll_interval`, as it is now, has passed: a shorter one acts at once."""
        if time.monotonic() - self._looked < service.settings().poll_interval:
            if self._failed is not None:
                raise self._failed  # it stands until the next look
            return
        self._looked, self._failed, self.empty = time.monotonic(), None, False
        try:
            self.empty = not poll(service)
        except Exception as error:
            self._failed = error
            raise


def jobs(service: Service, inbox: Inbox) -> tuple[Job, ...]:
    """What the daemon does, and how often."""
    disk = Disk(service.workspace)
    return (
        Job("poll", RANGES["poll_interval"][0], inbox.poll),
        Job("validate", 0.5, validate_all, "tokenize"),
        Job("arrange", 0.3, arrange),
        Job("answer", 0.2, answer),
        Job("give up", 0.5, give_up),
        Job("publish", 0.5, publish),
        Job("versions", 0.5, keep_versions),
        Job("consolidation", 1.0, Consolidation().work),
        Job("dispatch", 0.5, start_next, "tokenize"),
        Job("retention", 5.0, Retention().work),
        Job("reconcile", RECONCILE_EVERY, reconcile),
        Job("backup", 5.0, Backups().turn),
        Job("configuration", 2.0, configuration),
        Job("fixed set", 2.0, fixed_set, "tokenize"),
        Job("disk", 2.0, disk.care),
        Job("overfitting", 0.5, watch_overfitting),
        Job("samples", EVERY, Samples(disk).take),
        Job("alerts", 2.0, Alerts(service).look),
        Job("heartbeat", 1.0, beat),
        Job("status file", 1.0, StatusFile().write),
        Job("snapshots", 60.0, Snapshots().take),
        Job("journal", 1.0, Journal(service).write),
        Job("backfill", 60.0, fold_history),
    )


def fold_history(service: Service) -> None:
    """What an older log did not keep, slice by slice: between two of them others append."""
    while backfill(service.log) and not service.stop.wait(BETWEEN_SLICES):
        moved()


def watch_overfitting(service: Service) -> None:
    """Raise or clear the alert that the newest evaluations call for."""
    service.decide(overfitting.facts, overfitting.DEPENDS_ON)


def schedule(service: Service, table: tuple[Job, ...]) -> BackgroundScheduler:
    """A running scheduler. No job store: the log is the memory."""
    # a job still at work when its next turn comes is how long checks look, not news
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    scheduler = BackgroundScheduler(
        timezone="UTC",
        executors={"default": ThreadPoolExecutor(len(table))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    for job in table:
        scheduler.add_job(run, "interval", args=(service, job), seconds=job.every, id=job.name)
    scheduler.start()
    for job in table:  # at once as well, not only after the first interval
        scheduler.modify_job(job.name, next_run_time=_now())
    return scheduler


def _now() -> object:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def run(service: Service, job: Job) -> None:
    """Do a job; what it raises becomes a fact and an alert, and the other jobs go on."""
    if service.stop.is_set():
        return
    # where the log has no room nothing can be said: the age of the heartbeats tells
    with service.progress.job(job.phase), contextlib.suppress(LogFull):
        _run(service, job, f"job:{job.name}")


def _run(service: Service, job: Job, kind: str) -> None:
    try:
        job.work(service)
    except Interrupted:
        return
    except Exception as error:
        if is_full(error):  # no failure: the job does it again by itself
            wait(service, job.name, error)
            return
        failed = JobFailed(job=job.name, error=f"{type(error).__name__}: {error}"[:300], where=where(error))
        known = service.state().health.alerts.get(kind)
        if known is None or known.detail != f"{failed.error} at {failed.where}":
            service.log.append(failed)
        return
    if kind in service.state().health.alerts:
        service.log.append(AlertCleared(type=kind))
    service.decide(lambda state: waiting(state, job.name, None), ALERTS)


def wait(service: Service, name: str, error: BaseException) -> None:
    """A job found no space: say so once. Raises LogFull when the log has none for that either."""
    why = getattr(error, "shortage", None) or f"the disk (or its quota) is full: the job {name} waits"
    service.decide(lambda state: waiting(state, name, why), ALERTS)


def where(error: BaseException) -> str:
    """The place in the code, without a word of what it worked on."""
    trace, place = error.__traceback__, "unknown"
    while trace is not None:
        code = trace.tb_frame.f_code
        place = "/".join(code.co_filename.split("/")[-3:]) + f":{trace.tb_lineno}"
        trace = trace.tb_next
    return place
