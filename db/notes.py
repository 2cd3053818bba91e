"""Notes: what a dying process had to say about itself, for the watchdog to make a fact of."""

import contextlib
import json
import traceback
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def leave_note(folder: Path, role: str) -> Iterator[None]:
    """On an exception: its type, the place and the calls, never a value of the rows; then it goes on."""
    path = folder / f"{role}.json"
    path.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        calls = [f"{'/'.join(Path(f.filename).parts[-3:])}:{f.lineno} in {f.name}" for f in frames[-12:]]
        where = calls[-1] if calls else "unknown"
        # a message may quote a row, unless its class says that it is made for people
        said = f": {error}" if getattr(error, "for_people", False) else ""
        note = {"error": f"{type(error).__name__} at {where}{said}", "calls": calls}
        with contextlib.suppress(OSError):  # a full disk must not hide the error itself
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(json.dumps(note), encoding="utf-8")
        raise


def read_note(folder: Path, role: str) -> str | None:
    """The error of the last process of this role, if it left one."""
    try:
        return str(json.loads((folder / f"{role}.json").read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError):
        return None
