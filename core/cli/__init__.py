"""The command line, part of evertrain: thin commands over facts, folds and jobs; imports stay inside."""

import os

from core.names import refuse_strangers


def main() -> None:
    """The console script `evertrain`.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 corruption found.
    """
    refuse_strangers()
    os.umask(0o077)  # a workspace is for its owner alone; children inherit this
    from core.cli.app import run

    run()
