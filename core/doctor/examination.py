"""All checks in their order; what cannot be checked without a workspace is left out."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from core import gpu
from core.decide.memory import Choice, Room
from core.doctor import machine, model, place, software
from core.doctor.finding import OK, PROBLEM, WARN, Finding, Patient
from core.model.estimate import Description, card_bytes, describe, device
from core.model.refusal import BaseRefused
from core.settings import Settings

if TYPE_CHECKING:
    from db.workspace import Workspace

#: Every check, in the order of the report; docs/TROUBLESHOOTING.md explains each.
CHECKS = (
    "python", "libraries", "sqlite", "workspace", "log", "permissions", "file_system", "sync_latency", "disk",
    "port", "clock", "config", "base_model", "gpu", "ram", "memory",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings in the order of CHECKS; how a run would be trained where the base could be read."""

    findings: list[Finding]
    memory: Choice | None


def examine(workspace: "Workspace", port: int) -> Examination:
    """Look at everything; nothing is changed. Needs torch, and a second for each of the slow checks."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    findings = [software.python(), software.libraries(software.installed()), software.sqlite()]
    patient = Patient(workspace, Settings())
    made = workspace.log.exists()
    if made:
        findings.append(Finding("workspace", OK, str(workspace.root)))
        findings.append(log := place.log(workspace.log))
        patient = _read(patient) if log.ok == OK else patient
    else:
        remedy = "make one with `evertrain init --base DIR`; what needs one was not checked"
        findings.append(Finding("workspace", WARN, f"{workspace.root} is no workspace", remedy))
    findings += _place(patient, made)
    findings.append(machine.port(port, workspace.locks))
    findings.append(machine.clock(datetime.now(UTC), patient.newest, machine.ticks()))
    if made:
        findings.append(model.config(workspace.config))
    computes_on, cards = device(), gpu.gpus()
    described: Description | None = None
    if patient.base is not None:
        finding, described = _base(patient.base)
        findings.append(finding)
    findings.append(machine.gpu(cards, gpu.driver_version(), computes_on))
    main = psutil.virtual_memory()
    findings.append(machine.ram(main.available, main.total))
    chosen: Choice | None = None
    if described is not None:
        whole = card_bytes() if computes_on == "cuda" else main.total
        room = Room(computes_on, whole, main.total)
        finding, chosen = model.memory(described.dimensions, patient.settings, room, patient.measured)
        findings.append(finding)
    return Examination(findings, chosen)


def _read(patient: Patient) -> Patient:
    """What the log says: the settings in force, the base, the newest fact."""
    from core.config import ConfigInvalid, parse
    from core.logbook import open_log
    from events.types import ConfigChanged, MemoryMeasured, WorkspaceCreated
    from projections import memory

    log = open_log(patient.workspace, "cli")
    try:
        created, changed, last = log.newest(WorkspaceCreated), log.newest(ConfigChanged), log.get(log.head())
        measured = reduce(memory.apply, log.read(types=(MemoryMeasured,)), memory.EMPTY)
    finally:
        log.close()
    if changed is not None and isinstance(changed.event, ConfigChanged):
        try:
            patient = replace(patient, settings=parse(changed.event.config))
        except ConfigInvalid:       # of a newer evertrain; its config.json is reported by a check of its own
            patient = replace(patient, settings=Settings())
    if created is not None and isinstance(created.event, WorkspaceCreated):
        patient = replace(patient, base=patient.workspace.root / created.event.base_model)
    patient = replace(patient, measured=measured)
    if last is not None:
        patient = replace(patient, newest=datetime.fromtimestamp(last.at / 1e6, UTC))
    return patient


def _place(patient: Patient, made: bool) -> list[Finding]:
    folder = patient.folder
    findings = [place.permissions(folder, made)]
    if findings[0].ok != PROBLEM:
        findings.append(place.file_system(folder, patient.workspace, place.kind_of(folder)))
        findings.append(place.sync_latency(place.syncs(folder)))
    space = psutil.disk_usage(str(folder))
    return [*findings, place.disk(space.free, space.total, patient.settings)]


def _base(base: Path) -> tuple[Finding, Description | None]:
    try:
        found = describe(base)
    except BaseRefused as error:
        remedy = "copy the base model back; its hash is in the log's first fact"
        return Finding("base_model", PROBLEM, str(error), remedy), None
    return model.base_model(base, found), found
