"""From a run's end to a version: staged, renamed, told; and the current model loads at every moment."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from core.files import sha256_of
from core.inspection import folder_problems, inspect
from core.intake.template import Renderer
from core.intake.tokens import store_key
from core.jobs.arrange import arrange
from core.jobs.configuration import configuration
from core.jobs.dispatch import start_next
from core.jobs.publish import publish, show_current
from core.jobs.service import Service
from events.log import Log
from events.types import DriftFound, TrainingStarted, VersionPublished
from events.verify import Anchor, verify_log
from tests.core.jobs.work import complete, drop, facts, places, restart, take_in, train_one


def completed(service: Service) -> Service:
    """One file was trained; its version is due."""
    drop(service, "a.jsonl")
    take_in(service)
    start_next(service)
    arrange(service)
    complete(service)
    return service


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256_of(p) for p in sorted(folder.iterdir()) if p.is_file()}


def test_a_version_holds_all_that_loading_needs_and_its_manifest_tells_where_it_came_from(
    service: Service,
) -> None:
    publish(completed(service))
    folder = service.workspace.versions / "v0001"
    manifest = json.loads((folder / "manifest.json").read_text())

    (fact,) = facts(service, VersionPublished)
    (started,) = facts(service, TrainingStarted)

    assert isinstance(fact, VersionPublished)
    assert isinstance(started, TrainingStarted)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= hashes(folder).keys()
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        name: sha for name, sha in hashes(folder).items() if name != "manifest.json"
    }
    assert [] == folder_problems(folder, fact.manifest_sha256)
    assert (started.run, started.sha256, started.config_sha256, None) == (
        manifest["run"], manifest["file_sha256"], manifest["config_sha256"], manifest["parent"],
    )  # fmt: skip
    assert {manifest["log"]["seq"]: manifest["log"]["hash"]} == {fact.log_seq: fact.log_hash}


def test_the_manifest_is_an_anchor_of_the_log(service: Service) -> None:
    publish(completed(service))
    head = json.loads((service.workspace.versions / "v0001" / "manifest.json").read_text())["log"]

    assert () == verify_log(service.log.reader, [Anchor(head["seq"], head["hash"], "v0001")]).problems


def test_each_version_descends_from_the_one_before(service: Service) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        drop(service, name)
    take_in(service)
    train_one(service)
    train_one(service)

    first, second = facts(service, VersionPublished)

    assert isinstance(first, VersionPublished)
    assert isinstance(second, VersionPublished)
    assert [("v0001", None), ("v0002", "v0001")] == [(v.version, v.parent) for v in (first, second)]
    assert {"queue/recently_completed/a.jsonl", "queue/recently_completed/b.jsonl"} == places(service).keys()
    assert [] == inspect(service.workspace, service.state(), deep=True)


def test_publishing_again_after_nothing_is_due_does_nothing(service: Service) -> None:
    publish(completed(service))
    head = service.log.head()
    publish(service)

    assert head == service.log.head()


@pytest.mark.parametrize("crash", ["staged", "in place", "in place, then other settings"])
def test_a_crash_before_the_fact_ends_in_the_same_version(
    service: Service, tmp_path: Path, crash: str
) -> None:
    completed(service)
    versions, before = service.workspace.versions, service.workspace.log
    shutil.copyfile(before, tmp_path / "log")  # the log as it was when the folder was not yet a fact
    shutil.copyfile(before.with_name(before.name + "-wal"), tmp_path / "wal")
    publish(service)
    first = hashes(versions / "v0001")
    service.log.close()
    for name in ("-wal", "-shm"):
        before.with_name(before.name + name).unlink(missing_ok=True)
    shutil.copyfile(tmp_path / "log", before)
    shutil.copyfile(tmp_path / "wal", before.with_name(before.name + "-wal"))
    if crash == "staged":
        (versions / "v0001").rename(versions / ".v0001.partial")
    fresh = restart(Service(service.workspace, Log(before, "daemon")))
    if "settings" in crash:
        config = json.loads(fresh.workspace.config.read_text())
        fresh.workspace.config.write_text(json.dumps(config | {"seed": 7}))
        configuration(fresh)
    forgotten = facts(fresh, VersionPublished)
    publish(fresh)

    assert [] == forgotten
    assert first == hashes(versions / "v0001")
    assert 1 == len(facts(fresh, VersionPublished))
    assert [] == facts(fresh, DriftFound)
    assert ["v0001"] == [path.name for path in versions.iterdir()]
    fresh.log.close()


def test_a_foreign_folder_under_the_next_name_is_set_aside_and_told(service: Service) -> None:
    completed(service)
    foreign = service.workspace.versions / "v0001"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("do not lose me")
    publish(service)

    (drift,) = facts(service, DriftFound)
    (kept,) = list(service.workspace.quarantine.rglob("mine.txt"))

    assert isinstance(drift, DriftFound)
    assert "foreign_version" == drift.kind
    assert "do not lose me" == kept.read_text()
    assert service.workspace.relative(kept.parent) in drift.remedy
    assert not (foreign / "mine.txt").exists()


def test_the_current_model_is_the_base_until_there_is_a_version(service: Service) -> None:
    current = service.workspace.current_model
    at_first = hashes(current)["model.safetensors"]
    completed(service)
    checkpoint = next(current.glob("checkpoint-*"))
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    publish(service)

    assert sha256_of(service.base() / "model.safetensors") == at_first
    assert (
        sha256_of(service.workspace.versions / "v0001" / "model.safetensors")
        == hashes(current)["model.safetensors"]
    )
    assert "v0001" == json.loads((current / "evertrain.json").read_text())["version"]


@pytest.mark.parametrize("damage", ["weights", "tokenizer", "all", "half"])
def test_a_damaged_current_model_is_mended_at_the_next_start(service: Service, damage: str) -> None:
    publish(completed(service))
    current = service.workspace.current_model
    whole = hashes(current)
    if damage == "all":
        shutil.rmtree(current)
    elif damage == "half":
        (current / ".model.safetensors.partial").write_bytes(b"half")
        (current / "model.safetensors").unlink()
    else:
        name = {"weights": "model.safetensors", "tokenizer": "tokenizer.json"}[damage]
        (current / name).unlink()  # never written through: the file may be a link to the version's
        (current / name).write_bytes(b"rubbish")
    show_current(service)

    assert whole == {name: sha for name, sha in hashes(current).items() if not name.startswith(".")}


def test_the_current_model_loads_after_a_change(service: Service) -> None:
    publish(completed(service))
    shown = Renderer(service.workspace.current_model)

    keys = [store_key("any", renderer, service.settings()) for renderer in (service.renderer(), shown)]

    assert keys[0] == keys[1]


def test_the_current_model_can_be_loaded_at_every_moment_of_a_change(service: Service) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        drop(service, name)
    take_in(service)
    current, ended, looks = service.workspace.current_model, threading.Event(), []

    def look() -> None:
        while not ended.is_set():
            try:
                json.loads((current / "config.json").read_text())
                Tokenizer.from_file(str(current / "tokenizer.json"))
                with safe_open(current / "model.safetensors", framework="numpy") as weights:
                    looks.append(len(weights.keys()))
            except Exception as error:  # whatever a loader may meet
                looks.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(3):
        train_one(service)
    ended.set()
    reader.join()

    assert 3 == len(facts(service, VersionPublished))
    assert len(looks) > 3
    assert 1 == len(set(looks)), set(looks)


def configure(service: Service, **changed: object) -> None:
    text = service.workspace.config.read_text(encoding="utf-8")
    service.workspace.config.write_text(json.dumps({**json.loads(text), **changed}), encoding="utf-8")
    configuration(service)


def test_a_version_tells_whoever_generates_what_its_run_penalised_and_how_it_stops(service: Service) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    configure(
        service,
        logit_penalties=[{"text": "<think>", "weight": 5}, {"text": "Well", "weight": 2}],
        stop_sequences={"pool": ["🛑", "⛔"]},
    )
    publish(completed(service))
    folder = service.workspace.versions / "v0001"
    (fact,) = facts(service, VersionPublished)
    generation = GenerationConfig.from_pretrained(folder)
    renderer = service.renderer()

    assert isinstance(fact, VersionPublished)
    assert [] == folder_problems(folder, fact.manifest_sha256)
    assert [[list(renderer.pieces("<think>")), -5.0], [list(renderer.pieces("Well")), -2.0]] == (
        generation.sequence_bias
    )
    assert {"🛑" * n for n in (2, 3, 4)} | {"⛔" * n for n in (2, 3, 4)} == set(
        generation.stop_sequences["strings"]
    )
    assert json.loads((service.base() / "generation_config.json").read_text())["eos_token_id"] == (
        generation.eos_token_id
    )
    assert "🛑🛑🛑🛑" in (folder / "README.md").read_text(encoding="utf-8")

    model = AutoModelForCausalLM.from_pretrained(service.base())
    model.generation_config = generation
    prompt = AutoTokenizer.from_pretrained(folder)("Hello", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=4)

    assert renderer.pieces("<think>")[0] not in written[0].tolist()


def test_every_version_has_a_card_that_tells_what_made_it_and_no_row(service: Service) -> None:
    publish(completed(service))
    (fact,) = facts(service, VersionPublished)
    (started,) = facts(service, TrainingStarted)
    assert isinstance(fact, VersionPublished)
    assert isinstance(started, TrainingStarted)
    text = (service.workspace.versions / "v0001" / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)

    assert ['base_model: "tiny"', "library_name: transformers"] == front.splitlines()[:2]
    for told in (fact.log_hash, fact.sha256, started.config_sha256, "a.jsonl", f"{started.rows:,} rows"):
        assert told in body
    assert "from_pretrained" in body
    assert "What is" not in text


def test_the_card_of_the_current_model_is_its_versions(service: Service) -> None:
    configure(service, stop_sequences={"pool": ["🛑"]})
    for name in ("a.jsonl", "b.jsonl"):
        drop(service, name)
    take_in(service)
    train_one(service)
    card = service.workspace.current_model / "README.md"
    with_stop = card.read_text(encoding="utf-8")
    configure(service, stop_sequences=None)
    take_in(service)
    train_one(service)

    assert "🛑🛑" in with_stop
    assert "Stop sequences" not in card.read_text(encoding="utf-8")
