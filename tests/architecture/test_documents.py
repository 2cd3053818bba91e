"""Every command and every setting is explained, and no file has grown too long."""

import re
from dataclasses import fields
from pathlib import Path

from core.settings import Settings
from projections.crashes import MEANINGS

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", ROOT / "docs" / "QUICKSTART.md"]
FOLDERS = ("core", "db", "docs", "events", "projections", "tests", "web", ".ci")

#: Suffixes of what people write and read.
WRITTEN = (".py", ".sql", ".md", ".html", ".css", ".js", ".toml")


def explained() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in TEXTS if path.exists())


def commands() -> set[str]:
    """Every command with its sub-commands, as the command line itself knows them."""
    import click
    from typer.main import get_command

    from core.cli.app import COMMANDS, app

    for module in COMMANDS:
        module.register(app)
    found = set()
    whole = get_command(app)
    assert isinstance(whole, click.Group) or hasattr(whole, "commands")
    for name, command in whole.commands.items():
        found.add(name)
        found |= {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    return found


def test_every_command_is_explained() -> None:
    text = explained()

    assert len(commands()) > 20
    assert [] == sorted(name for name in commands() if not is_named(name, text))


def is_named(command: str, text: str) -> bool:
    """`queue move` is named by itself, or in a list as in `queue (list, move, remove)`."""
    top, _, inner = command.partition(" ")
    lines = [line for line in text.splitlines() if re.search(rf"\b{top}\b", line)]
    return any(re.search(rf"\b{inner}\b", line) for line in lines) if inner else bool(lines)


def test_every_setting_is_explained() -> None:
    text = explained()

    assert [] == [field.name for field in fields(Settings) if f"`{field.name}`" not in text]


def test_no_file_is_longer_than_a_person_likes_to_read() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in WRITTEN
    }
    # the vocabulary is one page on purpose: every fact there is, in one place
    found.pop("events/types.py")
    # nobody reads it through: a word is looked up in it
    found.pop("docs/TROUBLESHOOTING.md")

    assert len(found) > 100
    assert {} == {name: lines for name, lines in found.items() if lines > 400}


def test_every_module_opens_with_a_sentence() -> None:
    for folder in ("core", "db", "events", "projections", "web"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not text.strip() or text.startswith('"""'), path


def test_every_category_of_crash_is_explained_as_the_product_says_it() -> None:
    text = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")

    for name, meaning in MEANINGS.items():
        assert f"| `{name}` | {meaning.cause} | {meaning.advice} |" in text
