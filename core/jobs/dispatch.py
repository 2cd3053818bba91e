"""Dispatch: the next run begins; a hopeless one ends; requests that need no trainer are answered."""


from core.decide import control, disk, dispatch
from core.decide.batches import lay_out
from core.intake.tokens import StoreDamaged, TokenStore, store_key
from core.jobs.fixed import fixed_set
from core.jobs.service import Service
from core.jobs.validate import TOKEN_BYTES, check
from core.space import ensure_room, floor_of
from db.processes import RoleLock, RoleTaken
from db.reserve import NoRoom
from events.types import Event, FileQueued, FileRejected, FileValidated
from projections.fold import State
from projections.inbox import File


def answer(service: Service) -> None:
    """Answer what may be answered; holding the trainer's lock proves that no trainer does it as well."""
    while control.answer(service.state(), trainer_alive=False):
        if not _answer_one(service):
            return


def _answer_one(service: Service) -> bool:
    lock = RoleLock(service.workspace.locks, "trainer")
    try:
        lock.acquire()
    except RoleTaken:
        return bool(service.decide(lambda s: control.answer(s, trainer_alive=True), control.DEPENDS_ON))
    with lock:
        return bool(service.decide(lambda s: control.answer(s, trainer_alive=False), control.DEPENDS_ON))


def give_up(service: Service) -> None:
    """End a run whose tries all died at the same place."""
    if not dispatch.is_hopeless(service.state()):
        return
    lock = RoleLock(service.workspace.locks, "trainer")
    try:
        lock.acquire()
    except RoleTaken:
        return
    with lock:
        service.decide(dispatch.give_up, dispatch.DEPENDS_ON)


def start_next(service: Service) -> None:
    """Decide the next run, if there is one to start."""
    sha256 = dispatch.next_file(service.state())
    if not has_room(service, sha256) or sha256 is None:
        return
    measured = measure(service, sha256)
    if measured is None:
        return

    def question(state: State) -> list[Event]:
        fixed = state.workspace.fixed_set
        if (fixed.store if fixed is not None else None) != measured.fixed_store:
            return []  # another fixed set since: measured again at the next turn
        return dispatch.start(state, sha256, measured) if dispatch.next_file(state) == sha256 else []

    service.decide(question, dispatch.DEPENDS_ON)


def has_room(service: Service, sha256: str | None) -> bool:
    """Would the run of this file (None: there is none) fit above the floor? If not, that is an alert."""
    state, settings, workspace = service.state(), service.settings(), service.workspace
    why = None
    if sha256 is not None:
        file = state.inbox.files[sha256]
        stored = bool(file.store) and (workspace.tokens / str(file.store)).is_dir()
        linked = workspace.versions.stat().st_dev == workspace.current_model.stat().st_dev
        needs = disk.run_needs(
            state,
            settings,
            tokens=0 if stored else TOKEN_BYTES * file.size_bytes,
            version=0 if linked else disk.save_needs(state, settings.precision),
        )
        try:
            floor = floor_of(workspace, settings.disk_floor_gb)
            ensure_room(workspace, f"training {file.name}", needs, above=floor)
        except NoRoom as error:
            why = error.shortage
    service.decide(lambda state: disk.waiting(state, "run", why), disk.ALERTS)
    return why is None


def measure(service: Service, sha256: str) -> dispatch.Measured | None:
    """The batch plan of a file; its tokens are made again when they are gone or were made for other settings.

    None: the file turned out unusable under the settings in force, which is a fact by then.
    """
    settings, state = service.settings(), service.state()
    key = store_key(sha256, service.renderer(), settings)
    try:
        store = TokenStore.open(service.workspace.tokens / key)
    except (StoreDamaged, FileNotFoundError):
        facts = check(service, sha256)
        if any(isinstance(fact, FileRejected) for fact in facts):
            service.append(*facts)
            return None
        if not facts:
            return None
        store = TokenStore.open(service.workspace.tokens / key)
        _note_store(service, facts, state.inbox.files[sha256].store, key)
    else:
        if state.inbox.files[sha256].store != key:
            facts = check(service, sha256)
            if not facts:
                return None  # its bytes are gone: the poll makes a fact of that
            _note_store(service, facts, state.inbox.files[sha256].store, key)
    fixed = fixed_set(service)
    named = service.state().workspace.fixed_set if fixed is not None else None
    layout = lay_out(
        store.hashes,
        store.lengths,
        settings,
        sha256=sha256,
        fixed=None if fixed is None else fixed.hashes,
    )
    train = layout.train_rows
    if not len(train):
        service.append(_nothing_left(state.inbox.files[sha256], layout.excluded_rows))
        return None
    return dispatch.Measured(
        steps_planned=layout.plan.steps_planned,
        rows=len(train),
        holdout_rows=len(layout.holdout_rows),
        tokens=int(store.lengths[train].sum()) * settings.epochs,
        trained_tokens=int(store.trained[train].sum()) * settings.epochs,
        plan_sha256=layout.plan.sha256,
        fixed_set=named.sha256 if named is not None else None,
        fixed_store=named.store if named is not None else None,
        excluded_rows=layout.excluded_rows,
    )


def _nothing_left(file: File, excluded: int) -> FileRejected:
    """Rows of the fixed validation set are never trained, and this file has no others."""
    return FileRejected(
        sha256=file.sha256,
        format=file.format or "unknown",
        rows=file.rows or 0,
        accepted_rows=0,
        dropped_rows=file.rows or 0,
        counts={**file.counts, "in_fixed_set": excluded},
        reason=f"in_fixed_set: all {excluded} usable rows stand in the fixed validation set: "
        "drop other rows, or name another fixed_validation",
    )


def _note_store(service: Service, facts: list[Event], before: str | None, key: str) -> None:
    """The file was checked again under other settings: that is a fact; its place in the queue stays."""
    if before != key:
        service.append(*(f for f in facts if isinstance(f, FileValidated) and not isinstance(f, FileQueued)))
