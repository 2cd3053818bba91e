"""A step that was done twice: does a difference of its figures mean that something is wrong? Pure.

On a CPU the same weights, rows and seed give the same bits, so any difference says that memory, disk or
processor made an error. A GPU adds up in an order of its own: only what no rounding explains counts there.
"""

from events.types import AlertRaised

ROWS = ("rows", "row_digest", "tokens", "trained_tokens")  # what was trained: the same on every machine
LOSS_APART = 1e-2  # of a loss, on a GPU: far more than rounding adds up to

Value = float | int | str | None


def is_wrong(what: str, then: Value, now: Value, *, alike: bool, exact: bool) -> bool:
    """Is this difference more than what other software, another device or rounding brings?

    `what`: the column that differs; `alike`: software, device, types, attention are as then; `exact`: a CPU.
    """
    if what in ROWS:
        return True
    if not alike:
        return False
    return exact or (what == "loss" and _apart(then, now) > LOSS_APART)


def _apart(then: Value, now: Value) -> float:
    """The difference as a share of the larger; infinite where one is no finite number."""
    if not isinstance(then, int | float) or not isinstance(now, int | float):
        return float("inf")
    apart = abs(then - now)
    if apart - apart != 0:
        return float("inf")
    return apart / max(abs(then), abs(now)) if apart else 0.0


def alarm(file: str, step: int, what: str, then: Value, now: Value) -> AlertRaised:
    """The first such difference of a try, for people."""
    found = f"step {step} of {file}, done again, differs from its first doing: {what} {then}, now {now}"
    advice = (
        "test the machine's memory (memtest86+) and look for hardware errors in dmesg; then "
        "`evertrain verify --deep`"
    )
    return AlertRaised(severity="serious", type="steps_differ", detail=f"{found}: {advice}")
