"""The names: refuse to start when another package answers to one of ours. Stdlib only, called first."""

import importlib.util
import sys
from pathlib import Path

OURS = ("core", "db", "events", "projections", "web")
MARK = "part of evertrain"


def strangers(root: Path) -> list[tuple[str, str]]:
    """(name, where) of what would be imported in our place.

    pip overwrites files without a word, so the place alone proves nothing: the mark must be there as well.
    """
    found = []
    for name in OURS:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is None:
            found.append((name, "nowhere"))
        elif origin.parent.parent.resolve() != root.resolve() or MARK not in origin.read_text(
            encoding="utf-8"
        ):
            found.append((name, str(origin)))
    return found


def refuse_strangers() -> None:
    """Exit 3 with one sentence when one of our names is taken."""
    found = strangers(Path(__file__).resolve().parent.parent)
    if found:
        listed = ", ".join(f"`{name}` ({where})" for name, where in found)
        print(
            f"evertrain cannot start: another package took the place of {listed}. "
            "Uninstall it, or run `make install` again: evertrain needs an environment of its own.",
            file=sys.stderr,
        )
        raise SystemExit(3)
