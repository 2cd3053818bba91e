"""The command line, part of evertrain: thin commands over facts, folds and jobs; imports stay inside."""

from core.names import refuse_strangers


def main() -> None:
    """The console script `evertrain`.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 corruption found.
    """
    refuse_strangers()
    from core.cli.app import run

    run()
