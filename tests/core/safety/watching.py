"""The real watchdog with little patience, over chosen children: `-m tests.core.safety.watching PLAN`.

PLAN: JSON of workspace, floors (phase → seconds), asleep, commands (role → module and arguments).
"""

import json
import sys
from pathlib import Path

from core.safety.vigil import Patience
from core.safety.watchdog import Watchdog
from db.workspace import Workspace

if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    patience = Patience(
        floors=plan["floors"],
        dump=0.4,
        grace=1.0,
        asleep=plan["asleep"],
        stopping=10.0,
    )
    root = Workspace(Path(plan["workspace"]))
    sys.exit(Watchdog(root, host="127.0.0.1", port=0, patience=patience, commands=plan["commands"]).run())
