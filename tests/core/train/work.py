"""A trainer on a workspace that the daemon's own hands have prepared, in this process."""

from core.jobs.service import Service
from core.logbook import follow, open_log
from db.processes import Stop
from events.heartbeat import Heartbeat


def train(service: Service) -> None:
    """The open run, to its end."""
    from core.train.record import Recorder
    from core.train.service import Service as Trainer

    log = open_log(service.workspace, "trainer")
    recorder = Recorder(log, Heartbeat(log, "trainer"))
    try:
        Trainer(service.workspace, log, follow(log), recorder, Stop()).work(0.0)
    finally:
        recorder.close()
        log.close()
