"""The daemon's alerts about training: from the steps in the log to facts, and gone with the run."""

from core.decide.alerts import BASELINE_STEP, GRAD_NORM, LOSS_FACTOR
from core.jobs.alerts import Alerts
from core.jobs.disk import Disk
from core.jobs.samples import Samples
from core.jobs.service import Service
from events.types import AlertCleared, AlertRaised, ResourcesSampled, StepsCompleted, TrainingCompleted
from tests.core.jobs.work import facts
from tests.facts import specimen
from tests.projections.story import Tale


def steps(first: int, n: int, loss: float, norm: float, run: str = "r1") -> StepsCompleted:
    columns: dict[str, list[float | int | None]] = {
        "loss": [loss] * n, "grad_norm": [norm] * n, "tokens": [100] * n, "seconds": [0.1] * n,
    }  # fmt: skip
    return StepsCompleted(
        run=run, attempt=1, first_step=first, first_global_step=first, n=n, columns=columns
    )


def test_a_jump_and_a_steep_step_are_told_once_and_gone_with_the_run(service: Service) -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    service.log.append(*tale.facts)
    job = Alerts(service)
    service.log.append(steps(1, BASELINE_STEP, 2.0, 1.0))
    job.look(service)
    calm = facts(service, AlertRaised)
    service.log.append(steps(BASELINE_STEP + 1, 1, 2.0 * LOSS_FACTOR, 2 * GRAD_NORM))
    for _ in range(3):
        job.look(service)
    told = {getattr(fact, "type") for fact in facts(service, AlertRaised)}  # noqa: B009
    sha256 = tale.state.run.runs["r1"].sha256
    service.log.append(specimen(TrainingCompleted, run="r1", sha256=sha256))
    job.look(service)

    assert [] == calm
    assert {"loss_jump", "grad_norm"} == told
    assert 2 == len(facts(service, AlertRaised)) == len(facts(service, AlertCleared))
    assert {} == dict(service.state().health.alerts)


def test_a_real_sample_of_this_machine_raises_no_alert_about_a_gpu(service: Service) -> None:
    Samples(Disk(service.workspace)).take(service)

    assert {"gpu_hot", "gpu_lost"}.isdisjoint(service.state().health.alerts)


def test_a_restart_forgets_no_card_that_was_lost(service: Service) -> None:
    columns: dict[str, list[float | int | None]] = {"gpu0_temperature_c": [40], "gpu1_temperature_c": [None]}
    service.log.append(ResourcesSampled(every_seconds=5.0, columns=columns))
    Samples(Disk(service.workspace)).take(service)

    assert "gpu_lost" in service.state().health.alerts
