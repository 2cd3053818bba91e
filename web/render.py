"""The templates: one environment, one text for page and live fragment alike."""

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web import assets, words

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
    """A whole page."""
    return environment().get_template(f"{name}.html").render(values)


def fragment(name: str, values: dict[str, Any]) -> str:
    """The inside of the element whose id is `name`."""
    return environment().get_template(f"fragments/{name}.html").render(values)
