"""Xid lines as the driver writes them: which trouble, and what helps."""

import pytest

from events.types import ProcessCrashed, Recorded
from projections.crashes import MEANINGS, crash
from projections.xids import ACTIONS, XIDS, heaviest, numbers

LOG = """
[12.1] usb 1-1: new device
[13.5] NVRM: Xid (PCI:0000:3b:00): 31, pid=4242, name=python, Ch 00000008, intr 00000000. MMU Fault
[13.9] NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
[14.0] NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.
[15.0] NVRM: Xid (PCI:0000:3b:00): 45, pid=4242, Ch 00000010
"""


def test_the_numbers_are_read_and_the_gravest_counts() -> None:
    assert [31, 79, 45] == numbers(LOG)
    assert 79 == heaviest(numbers(LOG))
    assert 31 == heaviest([999, 31])
    assert None is heaviest(numbers("NVRM: nothing of that kind"))


@pytest.mark.parametrize(
    ("number", "action"), [(13, "restart"), (48, "reset"), (94, "restart"), (79, "reboot"), (64, "retire")]
)
def test_each_has_the_action_that_its_maker_names(number: int, action: str) -> None:
    assert action == XIDS[number][1]
    assert {action for _, action in XIDS.values()} == ACTIONS.keys()


def test_a_crash_with_an_xid_is_explained_by_it() -> None:
    def told(**resources: int) -> str:
        fact = ProcessCrashed(
            role="trainer", pid=7, exit_code=1, signal=None, error="RuntimeError", category="cuda_error",
            resources=resources,
        )  # fmt: skip
        return crash(Recorded(5, 0, "watchdog", fact)).meaning.advice

    assert ACTIONS["reboot"] == told(xid=79)
    assert MEANINGS["cuda_error"].advice == told() == told(xid=999)
