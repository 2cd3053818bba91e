"""Alerts about training: a look at the steps that came in since the last one."""

from core.decide.alerts import Trend, follow, of_training
from core.jobs.service import Service
from events.types import StepsCompleted


class Alerts:
    """Holds the trend of the open run, from where this daemon first saw it."""

    def __init__(self, service: Service) -> None:
        self._seq = service.log.head()
        self._trend: Trend | None = None

    def look(self, service: Service) -> None:
        """Follow the new steps; raise and clear."""
        state = service.state()
        run = state.run.current
        for recorded in service.log.read(self._seq, types=(StepsCompleted,)):
            self._seq = recorded.seq
            event = recorded.event
            if isinstance(event, StepsCompleted) and run is not None and event.run == run.id:
                trend = self._trend
                if trend is None or trend.run != run.id:
                    trend = Trend(run.id)
                self._trend = follow(trend, event.columns)
        is_of_run = self._trend is not None and run is not None and self._trend.run == run.id
        service.append(*of_training(self._trend if is_of_run else None, state.health.alerts))
