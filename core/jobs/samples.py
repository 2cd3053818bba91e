"""Samples: GPU, memory and disk every few seconds on the heartbeat, once a minute as a fact."""

import json
import os
from typing import Any

from core.decide.alerts import answers, of_machine
from core.decide.disk import floor_bytes
from core.gpu import sample
from core.jobs.service import Service
from events.types import AlertCleared, AlertRaised, ResourcesSampled

EVERY = 5.0
PER_FACT = 12  # a minute


class Samples:
    """Holds the minute that is not yet a fact."""

    def __init__(self) -> None:
        self._minute: list[dict[str, Any]] = []
        self._cards = 0  # the most that have answered
        self.newest: dict[str, Any] = {}

    def take(self, service: Service) -> None:
        """One sample."""
        self.newest = sample(service.workspace.root)
        beat(service, sample=json.dumps(self.newest))
        _watch_floor(service, self.newest["disk"])
        self._cards = max(self._cards, sum(answers(card) for card in self.newest["gpu"]))
        service.append(*of_machine(self.newest, self._cards, service.state().health.alerts))
        self._minute.append(_flat(self.newest))
        if len(self._minute) >= PER_FACT:
            columns = {key: [one.get(key) for one in self._minute] for key in self._minute[0]}
            service.log.append(ResourcesSampled(every_seconds=EVERY, columns=columns))
            self._minute.clear()


def _flat(newest: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ram_used_bytes": newest["ram"]["used_bytes"],
        "disk_free_bytes": newest["disk"]["free_bytes"],
    }
    for index, card in enumerate(newest["gpu"]):
        row |= {f"gpu{index}_{key}": value for key, value in card.items() if key != "name"}
    return row


def _watch_floor(service: Service, disk: dict[str, int]) -> None:
    """Below the floor nothing new starts; it goes on by itself when there is space again."""
    floor = floor_bytes(service.settings().disk_floor_gb, disk["total_bytes"])
    waiting = "waiting" in service.state().health.alerts
    if disk["free_bytes"] < floor and not waiting:
        free, least = disk["free_bytes"] / 1e9, floor / 1e9
        detail = (
            f"{free:.1f} GB free, the floor is {least:.1f} GB (disk_floor_gb): "
            "make space, it goes on by itself"
        )
        service.append(AlertRaised(severity="serious", type="waiting", detail=detail))
    elif waiting and disk["free_bytes"] >= floor:
        service.append(AlertCleared(type="waiting"))


def beat(service: Service, sample: str | None = None) -> None:
    """The daemon lives, by the scheduler that does its work; its work moves only as the slowest job does."""
    phase, move = service.progress.slowest()
    service.log.beat("daemon", os.getpid(), phase, sample=sample, progress=move)
