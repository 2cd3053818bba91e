"""docs/TROUBLESHOOTING.md explains every word that the code can answer with, and no other."""

import ast
import re
from pathlib import Path

from core.cli import terms
from core.doctor.examination import CHECKS
from core.intake.problems import FILE_ROW_CODES, ROW_CODES
from core.safety.children import PORT_TAKEN, ROLE_TAKEN

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")


def explained(section: str) -> list[str]:
    """The headings of a section, in order; each must have a paragraph of its own."""
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^### `(.+)`\n\n(.*)\n", body, re.MULTILINE)
    assert body.count("\n### ") == len(found)
    assert [] == [name for name, paragraph in found if len(paragraph) < 5]
    return [name for name, _ in found]


def sentence(node: ast.expr) -> str:
    """A string of the source, with … for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


def calls(name: str, folders: tuple[str, ...]) -> list[tuple[ast.Module, ast.Call]]:
    """Every call of this name, with the module it is in."""
    found = []
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            module = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(module):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    found.append((module, node))
    return found


def yields(path: str, function: str) -> list[ast.Yield]:
    """What a generator of this name gives."""
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (found,) = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == function]
    return [node for node in ast.walk(found) if isinstance(node, ast.Yield)]


def argument(call: ast.Call, name: str) -> ast.expr:
    (found,) = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return found


def test_every_exit_code_is_explained() -> None:
    codes = {0, terms.FAILED, terms.USAGE, terms.REFUSED, terms.CORRUPT, PORT_TAKEN, ROLE_TAKEN}

    assert [str(code) for code in sorted(codes)] == explained("Exit codes")


def test_every_check_of_doctor_is_explained() -> None:
    assert list(CHECKS) == explained("Checks of doctor")


def test_every_problem_of_rows_and_files_is_explained() -> None:
    assert list(ROW_CODES) == explained("Problems of rows")
    assert list(FILE_ROW_CODES) == explained("Problems of files")


def test_every_alert_is_explained() -> None:
    raised = {sentence(argument(call, "type")) for _, call in calls("AlertRaised", ("core", "web"))}
    folded = {sentence(call.args[1]) for _, call in calls("Alert", ("projections",))
              if isinstance(call.args[1], ast.JoinedStr)}  # fmt: skip

    assert folded
    assert raised | folded == set(explained("Alerts"))


def test_every_refused_request_is_explained() -> None:
    found = {sentence(call.args[1]) for _, call in calls("_refuse", ("core",)) if len(call.args) == 2}
    for module, call in calls("RequestRefused", ("core", "web")):
        reason = argument(call, "reason")
        if isinstance(reason, ast.Name):    # named just before, or the parameter of `_refuse`
            found |= {
                sentence(node.value) for node in ast.walk(module)
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == reason.id
            }  # fmt: skip
        else:
            found.add(sentence(reason))

    found |= {sentence(node.value) for node in yields("projections/standing.py", "obstacles")}

    assert found == set(explained("Refused requests"))
