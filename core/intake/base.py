"""What the intake reads of a base model's folder: tokenizer, its configuration, chat template."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer, processors

from core.intake.formats import HALF
from core.intake.problems import MACHINE_FAULTS
from core.intake.rows import Json
from core.intake.sandbox import ChatTemplate


class BaseUnusable(ValueError):
    """A base model's tokenizer or template cannot be used; says what, where and what to do."""


def load_tokenizer(folder: Path) -> tuple[bytes, Tokenizer]:
    """The bytes of tokenizer.json and the tokenizer they make. Raises `BaseUnusable`, `OSError`."""
    path = folder / "tokenizer.json"
    try:
        with _naming(path):
            raw = path.read_bytes()
    except FileNotFoundError:
        raise BaseUnusable(f"{path} is missing: give a model folder with a fast tokenizer") from None
    try:
        tokenizer = Tokenizer.from_buffer(raw)
    except MACHINE_FAULTS:
        raise
    except Exception as error:                  # the library raises bare Exception for what it cannot read
        raise BaseUnusable(f"{path} cannot be read ({error}): copy the base model again") from None
    # A saved tokenizer may carry a length limit and padding of whoever used it last, or move offsets.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.post_processor = processors.Sequence([])
    return raw, tokenizer


def load_config(folder: Path) -> Json:
    """tokenizer_config.json, empty where there is none. Raises `BaseUnusable`, `OSError`."""
    path = folder / "tokenizer_config.json"
    try:
        with _naming(path):
            config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise BaseUnusable(f"{path} is not JSON ({error}): copy the base model again") from None
    return config if isinstance(config, dict) else {}


def template_source(folder: Path, config: Json) -> str | None:
    """The chat template, None for a base without one. Raises `BaseUnusable`, `OSError`."""
    path = folder / "chat_template.jinja"
    try:
        with _naming(path):
            return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        source = config.get("chat_template")
    except UnicodeDecodeError as error:
        raise BaseUnusable(f"{path} is not UTF-8 ({error}): copy the base model again") from None
    if isinstance(source, list):                # several, by name
        named = (one for one in source if isinstance(one, dict) and one.get("name") == "default")
        source = next(named, {}).get("template")
    if not isinstance(source, str):
        return None
    if HALF.search(source):
        where = f"chat_template in {folder / 'tokenizer_config.json'}"
        raise BaseUnusable(f"{where} holds half of a \\ud800…\\udfff pair: copy the base model again")
    return source


def compiled(source: str | None, config: Json) -> tuple[ChatTemplate | None, str | None]:
    """The template in its sandbox, or why there is none."""
    if source is None:
        return None, None
    try:
        return ChatTemplate(source, config), None
    except MACHINE_FAULTS:
        raise
    except Exception as error:                  # whatever Jinja says of it is shown to the user
        return None, f"its chat template cannot be compiled ({error}): repair chat_template.jinja"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error while reading, unlike one while opening, does not say of which file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
