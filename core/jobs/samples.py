"""Samples: GPU, memory and disk every few seconds on the heartbeat, once a minute as a fact."""

import json
import os
from typing import Any

from core.decide.alerts import answers, of_machine
from core.gpu import sample
from core.jobs.disk import Disk
from core.jobs.service import Service
from events.types import ResourcesSampled

EVERY = 5.0
PER_FACT = 12  # a minute


class Samples:
    """Holds the minute that is not yet a fact. The disk's usage goes with each sample, for the pages."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._minute: list[dict[str, Any]] = []
        self._cards: int | None = None  # the most that have answered
        self.newest: dict[str, Any] = {}

    def take(self, service: Service) -> None:
        """One sample."""
        self.newest = sample(service.workspace.root) | {"usage": self._disk.usage(service)}
        beat(service, sample=json.dumps(self.newest))
        known = self._cards if self._cards is not None else _cards(service)
        self._cards = max(known, sum(answers(card) for card in self.newest["gpu"]))
        service.append(*of_machine(self.newest, self._cards, service.state().health.alerts))
        self._minute.append(_flat(self.newest))
        if len(self._minute) >= PER_FACT:
            keys = dict.fromkeys(key for one in self._minute for key in one)  # a card may come within it
            columns = {key: [one.get(key) for one in self._minute] for key in keys}
            service.log.append(ResourcesSampled(every_seconds=EVERY, columns=columns))
            self._minute.clear()


def _cards(service: Service) -> int:
    """How many GPUs there were in the last minute that was told: a lost one is not forgotten by a restart."""
    told = service.log.last(1, ResourcesSampled)
    event = told[0].event if told else None
    columns = event.columns if isinstance(event, ResourcesSampled) else {}
    return len({key.partition("_")[0] for key in columns if key.startswith("gpu")})


def _flat(newest: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ram_used_bytes": newest["ram"]["used_bytes"],
        "disk_free_bytes": newest["disk"]["free_bytes"],
    }
    for index, card in enumerate(newest["gpu"]):
        row |= {f"gpu{index}_{key}": value for key, value in card.items() if key != "name"}
    return row


def beat(service: Service, sample: str | None = None) -> None:
    """The daemon lives, by the scheduler that does its work; its work moves only as the slowest job does."""
    phase, move = service.progress.slowest()
    service.log.beat("daemon", os.getpid(), phase, sample=sample, progress=move)
