"""The templates: one environment, one text for page and live fragment alike."""

import functools
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web import assets, words

#: The addresses of pages, and their twins, that show any moment.
OF_A_MOMENT = re.compile(
    r'(?<!data-now )href="(/(?:(?:index|runs|files|versions|queue|backups|disk|crashes|system|curves|audit)'
    r'(?:[/.?][^"#]*)?|\?[^"#]*)?)"'
)
FOLDER = Path(__file__).parent / "templates"


@functools.cache
def environment() -> Environment:
    """Autoescape on, an unknown name is an error, hostile characters made visible."""
    made = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=words.finalize, auto_reload=False,
    )  # fmt: skip
    made.filters.update(words.FILTERS)
    made.globals["asset"] = assets.address
    made.globals["read_only"] = False  # the replay page alone says otherwise: no form, no hint what to do now
    return made


def warm() -> None:
    """Compile every template."""
    for name in environment().list_templates(extensions=["html"]):
        environment().get_template(name)


def page(name: str, values: dict[str, Any]) -> str:
    """A whole page; one of the past leads to pages as of the same position."""
    text = environment().get_template(f"{name}.html").render(values)
    return _staying(text, values["at"]) if values.get("read_only") else text


def _staying(text: str, at: int) -> str:
    """The page with its links, but for the bar above, leading to what there was at `at`."""

    def stay(found: re.Match[str]) -> str:
        address, name = found[1], "before" if found[1].startswith("/audit") else "at"
        if re.search(rf"[?;&]{name}=", address):
            return found[0]
        sign = "&amp;" if "?" in address else "?"
        return f'href="{address}{sign}{name}={at + 1 if name == "before" else at}"'

    above, main, rest = text.partition("<main")
    return above + main + OF_A_MOMENT.sub(stay, rest)


def fragment(name: str, values: dict[str, Any]) -> str:
    """The inside of the element whose id is `name`."""
    return environment().get_template(f"fragments/{name}.html").render(values)
