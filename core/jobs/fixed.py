"""The fixed validation set: a file measured throughout and never trained; it is read where it lies."""

from pathlib import Path

from core.files import Look, NotTakeable, look, sha256_of
from core.intake.tokens import StoreDamaged, TokenStore, store_key
from core.jobs.service import Service
from db.reserve import is_full
from events.types import AlertCleared, AlertRaised, FixedSetChecked


def fixed_set(service: Service) -> TokenStore | None:
    """Check what `fixed_validation` names where that is new; tell aloud what cannot be used.

    Gives the tokens of the set in force, None without one.
    """
    with service.fixing:
        named = service.settings().fixed_validation
        if named is not None:
            _check(service, named)
        _tell(service, named)
        usable = service.state().workspace.fixed_set
        return TokenStore.open(service.workspace.tokens / usable.store) if usable is not None else None


def _check(service: Service, named: str) -> None:
    """A fact about the file, unless it says what the newest one does."""
    path, state = service.workspace.root / named, service.state()
    seen, problem = _look(service, path)
    # the settings that tokens depend on are in the key of no bytes at all
    now = (named, seen, problem, store_key("", service.renderer(), service.settings()))
    usable = state.workspace.fixed_set
    if service.fixed_look == now and (usable is None or _opens(service, usable.store)):
        return
    fact = _unusable(named, problem) if problem is not None else _examined(service, named)
    if problem is None and _look(service, path)[0] != seen:
        if usable is not None:
            return  # the bytes that were checked stay in force until it is whole again
        fact = _unusable(named, "it changes while it is read: write elsewhere and rename it into place")
    else:
        service.fixed_look = now
    if fact != state.workspace.checked:
        service.append(fact)


def _examined(service: Service, named: str) -> FixedSetChecked:
    """The very check of every file, over the bytes as they lie there now."""
    path = service.workspace.root / named
    try:
        sha256 = sha256_of(path)
        report = service.examine(path, sha256=sha256)
    except OSError as error:
        if is_full(error) or error.filename not in (None, str(path)):  # no fault of the file's
            raise
        return _unusable(named, _unreadable(error))
    return FixedSetChecked(
        path=named,
        sha256=sha256,
        rows=report.rows,
        usable_rows=report.accepted_rows,
        trainable_tokens=report.trainable_tokens,
        store=report.store or "",
        problems=(report.reason,) if report.reason else report.warnings,
    )


def _look(service: Service, path: Path) -> tuple[Look | None, str | None]:
    """The file at a glance, or what is wrong with it."""
    try:
        whole = path.resolve()  # a link is fine: the file stays where it is
        for folder in (service.workspace.inbox, service.workspace.queue):
            if whole.is_relative_to(folder.resolve()):
                return None, f"it lies in {folder.name}/, where files are trained: move it elsewhere"
        return look(whole), None
    except NotTakeable as refusal:
        return None, str(refusal)
    except OSError as error:
        return None, _unreadable(error)


def _unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror}): put it back, or name another file"


def _opens(service: Service, store: str) -> bool:
    try:
        TokenStore.open(service.workspace.tokens / store)
    except StoreDamaged:
        return False
    return True


def _unusable(named: str, problem: str) -> FixedSetChecked:
    return FixedSetChecked(
        path=named, sha256=None, rows=0, usable_rows=0, trainable_tokens=0, store="", problems=(problem,)
    )


def _tell(service: Service, named: str | None) -> None:
    """An alert while a set is named that cannot be used."""
    state = service.state()
    checked, raised = state.workspace.checked, state.health.alerts.get("fixed_validation")
    if named is not None and checked is not None and checked.path == named and not checked.store:
        detail = f"fixed_validation: {named}: {'; '.join(checked.problems)}; training goes on without it"
        if raised is None or raised.detail != detail:
            service.append(AlertRaised(severity="serious", type="fixed_validation", detail=detail))
    elif raised is not None:
        service.append(AlertCleared(type="fixed_validation"))
