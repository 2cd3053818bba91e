"""The lineage: every edge of the tree is drawn once, from a version down to the one it came from."""

from hypothesis import given
from hypothesis import strategies as st

from events.types import VersionPublished
from projections import lineage
from projections.fold import fold
from tests.facts import recorded, specimen


def grown(parents: list[int | None]) -> list[lineage.Node]:
    """The drawing of a tree: entry n is the number of the parent of version n, None: the base model."""
    facts = [
        specimen(VersionPublished, version=f"v{n}", parent=None if up is None else f"v{up}", kind="run")
        for n, up in enumerate(parents)
    ]
    return lineage.draw(lineage.newest(fold(recorded(facts))))


def edges(nodes: list[lineage.Node]) -> set[tuple[str, str]]:
    """(child, parent), found by following the strokes from row to row."""
    found: set[tuple[str, str]] = set()
    hanging: list[tuple[int, str]] = []  # lane, and the child it comes down from
    for node in nodes:
        for lane, to in node.above:
            assert to is None
            found |= {(child, node.version.id) for at, child in hanging if at == lane}
        joined = {lane for lane, _ in node.above}
        hanging = [(at, child) for at, child in hanging if at not in joined]
        assert {at for at, _ in hanging} == set(node.past)
        hanging += [(lane, node.version.id) for _, lane in node.below if lane is not None]
    return found


@st.composite
def trees(draw: st.DrawFn) -> list[int | None]:
    size = draw(st.integers(1, 25))
    return [draw(st.one_of(st.none(), st.integers(0, n - 1))) if n else None for n in range(size)]


@given(trees())
def test_following_the_lines_gives_the_tree_back(parents: list[int | None]) -> None:
    nodes = grown(parents)

    assert [f"v{n}" for n in reversed(range(len(parents)))] == [node.version.id for node in nodes]
    assert {(f"v{n}", f"v{up}") for n, up in enumerate(parents) if up is not None} == edges(nodes)
    assert all(node.lane < node.lanes for node in nodes)
    assert all(node.lane not in node.past for node in nodes)


def test_a_line_without_branches_stays_in_one_lane() -> None:
    nodes = grown([None, 0, 1, 2])

    assert {0} == {node.lane for node in nodes}
    assert {1} == {node.lanes for node in nodes}


def test_a_parent_whose_row_was_cut_off_still_leads_down() -> None:
    facts = [specimen(VersionPublished, version="v2", parent="v1", kind="run")]
    (node,) = lineage.draw(lineage.newest(fold(recorded(facts))))

    assert ((None, 0),) == node.below
