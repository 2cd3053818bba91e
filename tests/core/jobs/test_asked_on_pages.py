"""A click and its answer: asked on a page, done by the daemon's jobs, both in the log and on the page."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from core.jobs.backup import backup
from core.jobs.consolidation import answer_consolidation
from core.jobs.disk import Disk
from core.jobs.service import Service
from core.jobs.versions import keep_versions
from core.logbook import open_log
from db.workspace import Workspace
from events.types import (
    BackupRequested,
    BackupVerified,
    CleanRequested,
    ConsolidateRequested,
    DiskCleaned,
    PinRequested,
    RequestRefused,
    RestoreRequested,
    UnpinRequested,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionUnpinned,
)
from tests.core.jobs.work import drop, facts, take_in, train_one
from web.app import create_app


@pytest.fixture
def service(made: Path, tmp_path: Path) -> Iterator[Service]:
    """A workspace with v0001 and v0002."""
    root = tmp_path / "workspace"
    shutil.copytree(made, root)
    log = open_log(Workspace(root), "daemon")
    service = Service(Workspace(root), log)
    for name in ("a.jsonl", "b.jsonl"):
        drop(service, name)
    take_in(service)
    for _ in range(2):
        train_one(service)
    yield service
    log.close()


class Person:
    """Somebody at the monitor, who fills in forms and reads."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def reads(self, path: str) -> str:
        html = self._client.get(path).text
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html[html.index("<main") :]))

    def clicks(self, page: str, action: str) -> int:
        """Send the form with this action as the page has it."""
        found = re.search(rf'<form[^>]*action="{action}".*?</form>', self._client.get(page).text, re.DOTALL)
        assert found is not None, f"{page} has no form for {action}"
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', found.group(0)))
        headers = {"sec-fetch-site": "same-origin", "origin": "http://localhost:8080"}
        return self._client.post(action, data=fields, headers=headers).status_code


@pytest.fixture
def person(service: Service) -> Iterator[Person]:
    app = create_app(service.workspace)
    yield Person(TestClient(app, base_url="http://localhost:8080", follow_redirects=False))
    app.state.monitor.close()


def test_pin_restore_and_unpin_are_asked_and_answered(service: Service, person: Person) -> None:
    first = person.clicks("/versions/v0001", "/versions/v0001/pin")
    keep_versions(service)
    said = person.reads("/versions/v0001/restore")
    second = person.clicks("/versions/v0001/restore", "/versions/v0001/restore")
    waiting = person.reads("/versions/v0001")
    keep_versions(service)
    restored = person.reads("/versions/v0001")
    third = person.clicks("/versions/v0001", "/versions/v0001/unpin")
    keep_versions(service)
    (pin,), (restore,), (unpin,) = (
        facts(service, c) for c in (VersionPinned, VersionRestored, VersionUnpinned)
    )

    assert [303, 303, 303] == [first, second, third]
    assert "v0002 → v0001" in said and "moments are still there" in said
    assert "RestoreRequested" in waiting and "waits for its answer" in waiting
    assert "v0002 → v0001" in restored and "moments kept" in restored and "waits" not in restored
    assert ("v0001", "kept", "v0001") == (pin.version, restore.moments, unpin.version)
    assert [PinRequested, RestoreRequested, UnpinRequested] == [
        type(r.event) for r in service.log.read() if r.actor == "web"
    ]


def test_a_damaged_version_is_refused_on_the_page_and_the_model_stays(
    service: Service, person: Person
) -> None:
    weights = service.workspace.versions / "v0001" / "config.json"
    weights.write_bytes(b"{}")
    person.clicks("/versions/v0001/restore", "/versions/v0001/restore")
    keep_versions(service)
    (refused,) = facts(service, RequestRefused)

    assert "v0001 is damaged" in refused.reason
    assert "v0001 is damaged" in person.reads("/versions/v0001/restore")
    assert "v0001 is damaged" not in person.reads("/versions/v0002")
    assert "models/versions/v0001" in person.reads("/system")
    assert "v0002" == service.state().versions.current


def test_a_backup_is_asked_for_and_shown_once_it_is_verified(service: Service, person: Person) -> None:
    before = person.reads("/backups")
    answered = person.clicks("/backups", "/backups/now")
    waiting = person.reads("/backups")
    backup(service)
    after = person.reads("/backups")
    (asked,) = [r for r in service.log.read() if isinstance(r.event, BackupRequested)]
    (verified,) = facts(service, BackupVerified)

    assert 303 == answered and ("web", asked.seq) == (asked.actor, verified.request)
    assert "No backup yet" in before and f"A backup is asked for (#{asked.seq})" in waiting
    assert "b0001 verified" in after and "2 versions (v0001 … v0002)" in after
    assert "evertrain backup restore b0001 ./restored --target" in after


def test_a_release_is_asked_for_and_shown_as_one(service: Service, person: Person) -> None:
    answered = person.clicks("/versions", "/consolidate")
    answer_consolidation(service)
    (published,) = [e for e in facts(service, VersionPublished) if e.kind == "release"]
    (asked,) = [r for r in service.log.read() if isinstance(r.event, ConsolidateRequested)]

    assert 303 == answered and ("web", asked.seq) == (asked.actor, published.request)
    assert "v0003" in person.reads("/versions") and "release" in person.reads("/versions/v0003")
    assert "v0002" == service.state().versions.current


def test_a_clean_up_is_asked_for_and_says_what_it_freed(service: Service, person: Person) -> None:
    before = person.reads("/disk")
    answered = person.clicks("/disk", "/disk/clean")
    Disk(service.workspace).care(service)
    (cleaned,) = facts(service, DiskCleaned)
    (asked,) = [r for r in service.log.read() if isinstance(r.event, CleanRequested)]

    assert 303 == answered and ("web", asked.seq) == (asked.actor, cleaned.request)
    assert cleaned.kinds.get("tokens", 0) > 0
    assert before != person.reads("/disk")
