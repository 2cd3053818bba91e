"""Over-fitting on purpose, for real: twenty rows learned by heart raise the alert, ordinary rows do not."""

import json
from typing import Any

from core.decide.overfitting import facts as judged
from core.jobs.arrange import arrange
from core.jobs.dispatch import start_next
from core.jobs.service import Service
from core.jobs.table import watch_overfitting
from core.logbook import state_at
from core.model.docstrings import harvest
from events.types import AlertRaised, TrainingCompleted, ValidationMeasured
from tests.core.jobs.test_fixed import configure
from tests.core.jobs.work import drop, facts, recorded, take_in
from tests.core.train.work import train


def run(service: Service, count: int, **settings: Any) -> list[str]:
    """Train so many chats; the severity of what every evaluation by itself would have said."""
    configure(service, learning_rate=1e-2, warmup_steps=0, gradient_accumulation=1, **settings)
    drop(service, "chats.jsonl", "".join(json.dumps(row) + "\n" for row in harvest(0, count)))
    take_in(service)
    start_next(service)
    arrange(service)
    train(service)
    assert 1 == len(facts(service, TrainingCompleted))
    watch_overfitting(service)
    watch_overfitting(service)
    said = []
    for measured in recorded(service, ValidationMeasured):
        said += [fact.severity for fact in judged(state_at(service.log, measured.seq))
                 if isinstance(fact, AlertRaised)]  # fmt: skip
    return said


def test_twenty_rows_over_and_over_raise_the_alert_and_it_names_the_best_step(service: Service) -> None:
    said = run(service, 20, epochs=24, eval_steps=16, validation_fraction=0.3)
    (alert,) = (a for a in service.state().health.alerts.values() if a.type == "overfitting")
    best = service.state().run.runs[str(service.state().run.latest)].best
    print(alert.detail)

    assert "serious" == said[-1] == alert.severity
    assert 1 == len(facts(service, AlertRaised))
    assert best is not None
    assert f"best was step {best.step}:" in alert.detail
    assert best.loss == min(f.loss for f in facts(service, ValidationMeasured))  # type: ignore[attr-defined]


def test_ordinary_rows_do_not(service: Service) -> None:
    said = run(service, 200, epochs=1, eval_steps=5, validation_fraction=0.1)

    assert 5 < len(facts(service, ValidationMeasured))
    assert [] == said == facts(service, AlertRaised)
