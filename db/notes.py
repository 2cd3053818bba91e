"""Notes: what a dying process had to say about itself, for the watchdog to make a fact of."""

import contextlib
import errno
import json
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHAIN = 4  # exceptions that led to one another
CALLS = 12


@contextlib.contextmanager
def leave_note(folder: Path, role: str, phrases: Iterable[str] = ()) -> Iterator[None]:
    """On an exception: its type, the place and the calls, never a value of the rows; then it goes on.

    Of its message, only which of the given `phrases` it holds.
    """
    forget_note(folder, role)
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-CALLS:]
        calls = [place(f.filename, f.lineno, f.name) for f in frames]
        where = calls[-1] if calls else "unknown"
        # a message may quote a row, unless its class says that it is made for people
        said = f": {error}" if getattr(error, "for_people", False) else ""
        raised = [_raised(each, tuple(phrases)) for each in _chain(error)]
        note = {"error": f"{type(error).__name__} at {where}{said}", "calls": calls, "raised": raised}
        with contextlib.suppress(OSError):  # a full disk must not hide the error itself
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / f"{role}.json").write_text(json.dumps(note), encoding="utf-8")
        raise


def place(file: str, line: int | None, function: str) -> str:
    """A place in the code as facts hold it: the last three parts of the path are enough to find it."""
    return f"{'/'.join(Path(file).parts[-3:])}:{line} in {function}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what led to it."""
    at: BaseException | None = error
    for _ in range(CHAIN):
        if at is None:
            return
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _raised(error: BaseException, phrases: tuple[str, ...]) -> dict[str, Any]:
    number = getattr(error, "errno", None)
    try:
        message = str(error)
    except Exception:  # an exception of a library that cannot be printed: its class still counts
        message = ""
    return {
        "types": [cls.__name__ for cls in type(error).__mro__ if cls not in (object, BaseException)],
        "errno": errno.errorcode.get(number) if isinstance(number, int) else None,
        "phrases": [phrase for phrase in phrases if phrase in message],
    }


def forget_note(folder: Path, role: str) -> None:
    """A new process begins: what an earlier one said is not about it."""
    (folder / f"{role}.json").unlink(missing_ok=True)


def read_note(folder: Path, role: str) -> dict[str, Any] | None:
    """What the last process of this role left: `error`, `calls`, `raised`; None if it left nothing."""
    try:
        found = json.loads((folder / f"{role}.json").read_text(encoding="utf-8"))
        return {"error": str(found["error"]), "calls": found["calls"], "raised": found["raised"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
