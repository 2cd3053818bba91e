"""Looks: a page as a person reads it, so that one of the past can be held against what was shown then."""

import re
from urllib.parse import quote

from projections.fold import State

#: What no position of the log can bring back, with the reason: elements by an attribute.
OF_NOW = {
    'class="[^"]*\\bmeters"': "memory, disk and GPU, as a heartbeat has them that is overwritten",
    'class="[^"]*\\bprocesses"': "who was heard of in the last ten seconds; the past has who ran by the log",
    'id="system-now"': "both of these, as a table",
    'class="[^"]*\\bdisk-space"': "free space as measured now; the chart of it comes from the log",
    'class="[^"]*\\bdisk-kinds"': "the same, by kind",
    'class="[^"]*\\blog-size"': "the size of the log's file as it lies there",
}
#: What asks for an action, or says what to do now: a page of the past has none of it.
ACTIONS = ('id="controls"', 'class="actions"', 'aria-labelledby="h-release"', 'id="dropzone"')


def addresses(state: State) -> list[str]:
    """The pages that show any moment, those of runs, files and versions as of the newest of each."""
    found = ["/", "/?range=all", "/queue", "/runs", "/versions", "/backups", "/disk", "/crashes", "/system"]
    found += [f"/files/{key}" for key in sorted(state.queue.entries)[:1]]
    newest = [state.versions.order[-1]] if state.versions.order else []
    if state.run.latest is not None:
        found += [f"/runs/{quote(state.run.latest)}", f"/runs/{quote(state.run.latest)}?from=3&to=9"]
    found += [f"/versions/{name}" for name in newest]
    if len(state.versions.order) > 1:
        found.append(f"/versions/diff?a={state.versions.order[-2]}&b={newest[0]}")
    return found


def as_of(address: str, seq: int) -> str:
    return f"{address}{'&' if '?' in address else '?'}at={seq}"


def inside(html: str, name: str) -> str:
    """The inner HTML of the element of this id."""
    begin, opened, closed, _ = _element(html, rf' id="{name}"')
    assert begin >= 0, name
    return html[opened:closed]


def _element(html: str, mark: str) -> tuple[int, int, int, int]:
    """Where the first element with this mark begins, its inside begins and ends, and it ends; -1: none."""
    found = re.search(rf"<(\w+)[^>]*{mark}[^>]*>", html)
    if found is None:
        return -1, -1, -1, -1
    depth = 1
    for tag in re.finditer(rf"<(/?){found[1]}\b[^>]*>", html[found.end() :]):
        depth += -1 if tag[1] else 1
        if depth == 0:
            return found.start(), found.end(), found.end() + tag.start(), found.end() + tag.end()
    raise AssertionError(f"{mark} is never closed")


def without(html: str, *marks: str) -> str:
    """The page without the elements that have one of these attributes."""
    for mark in marks:
        while (place := _element(html, f" {mark}"))[0] >= 0:
            html = html[: place[0]] + html[place[3] :]
    return html


def without_buttons(html: str) -> str:
    """As one may read it: what asks for an action is out, a choice is the word chosen, no moment in links."""
    html = re.sub(r"<td><form[^>]*/queue/remove.*?</form></td>", "", html)
    html = re.sub(r"<th[^>]*><span[^>]*>Remove</span></th>", "", html)
    html = re.sub(r"<form.*?<option selected>(\w+)</option>.*?</form>", r"\1", html, flags=re.DOTALL)
    html = re.sub(r"<form.*?</form>", "", html, flags=re.DOTALL)
    html = re.sub(r"(Nothing waits\.|Nothing to train\.).*?</p>", r"\1</p>", html)
    html = re.sub(r'(href="[^"]*?)\?(?:at|before)=\d+"', r'\1"', html)
    html = re.sub(r'(href="[^"]*?)\?at=\d+&amp;', r"\1?", html)
    html = re.sub(r'(href="[^"]*?)&amp;(?:at|before)=\d+', r"\1", html)
    return re.sub(r"\s+", " ", html).replace("> <", "><").replace(" </", "</")


def main(html: str) -> str:
    """What the page shows of the workspace at its moment."""
    found = re.search(r"<main[^>]*>(.*)</main>", html, re.DOTALL)
    assert found is not None
    return without_buttons(without(found[1], 'class="notice replayed"', *ACTIONS, *OF_NOW))
