"""Question and answer chats out of the docstrings of Python's own standard library: the demo's rows."""

import ast
import functools
import hashlib
import inspect
import itertools
import os
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHORTEST, LONGEST = 40, 480                 # characters of a description worth a row
LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})


class SourcesMissing(RuntimeError):
    """This Python comes without the sources of its standard library."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One described thing of the library."""

    kind: str           # module, class or function
    name: str           # dotted, with its module
    signature: str      # as it is written; the bare name of a module or class
    module: str
    text: str           # the description: the docstring's first paragraphs


def entries(count: int) -> list[Entry]:
    """The first `count` described things in a fixed order, or all there are.

    Files are taken in the order of a hash of their name, so that any stretch of the list is as mixed as any
    other; nothing is imported, sources are only parsed, and no more of them than needed.
    """
    known, rest = _library()
    known.extend(itertools.islice(rest, max(0, count - len(known))))
    if not known:
        raise SourcesMissing(
            f"no readable source of the standard library below {sysconfig.get_path('stdlib')}: install the "
            "system's full Python package, or use `evertrain init --base DIR` with files of your own"
        )
    return known[:count]


def harvest(skip: int, count: int) -> list[dict[str, Any]]:
    """`count` rows {"messages": [...]}, starting at row `skip` of an endless, fixed list of different rows.

    The first pass over the library asks about one thing in each chat; pass p after it about two, p apart.
    """
    known = entries(skip + count)
    rows = []
    for number in range(skip, skip + count):
        turn, first = divmod(number, len(known))
        pair = [known[first]] if turn == 0 else [known[first], known[(first + turn) % len(known)]]
        rows.append({"messages": [message for entry in pair for message in _chat(entry)]})
    return rows


@functools.cache
def _library() -> tuple[list[Entry], Iterator[Entry]]:
    """What was parsed so far, and the rest."""
    return [], _all()


def _all() -> Iterator[Entry]:
    seen: set[str] = set()
    for path, module in _modules():
        for entry in _described(path, module):
            if entry.text not in seen:
                seen.add(entry.text)
                yield entry


def _modules() -> Iterator[tuple[Path, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]     # whole trees of no interest
        found += [Path(folder, name).relative_to(root) for name in files if name.endswith(".py")]
    for path in sorted(found, key=lambda path: hashlib.sha256(path.as_posix().encode()).digest()):
        parts = path.with_suffix("").parts
        yield root / path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _described(path: Path, module: str) -> Iterator[Entry]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # odd escapes in old sources are no matter of ours
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return                                      # samples of broken code are part of the library
    yield from _walk(tree, module, module)


def _walk(node: ast.Module | ast.ClassDef, name: str, module: str) -> Iterator[Entry]:
    kind = "module" if isinstance(node, ast.Module) else "class"
    yield from _entry(node, kind, name, name, module)
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _walk(child, f"{name}.{child.name}", module)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            full = f"{name}.{child.name}"
            arguments = ", ".join(a.arg for a in child.args.args if a.arg not in {"self", "cls"})
            yield from _entry(child, "function", full, f"{full}({arguments})", module)


def _entry(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
    kind: str, name: str, signature: str, module: str,
) -> Iterator[Entry]:
    paragraphs = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").split("\n\n")
    text = ""
    for paragraph in paragraphs:
        if len(text) + len(paragraph) > LONGEST:
            break
        text = f"{text}\n\n{paragraph}".strip()
    if len(text) >= SHORTEST and not any("\ud800" <= character <= "\udfff" for character in text):
        yield Entry(kind, name, signature, module, text)


def _chat(entry: Entry) -> list[dict[str, str]]:
    question = {
        "module": f"What is the module `{entry.name}` for?",
        "class": f"What is the class `{entry.name}` for?",
        "function": f"What does `{entry.name}` do?",
    }[entry.kind]
    place = "" if entry.kind == "module" else f" of the module `{entry.module}`"
    answer = f"`{entry.signature}` is a {entry.kind}{place} in Python's standard library.\n\n{entry.text}"
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
