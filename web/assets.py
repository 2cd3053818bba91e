"""The assets: the script and the style sheet, under a name that changes with their content."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

#: name → bytes; read once, they are small.
FILES = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}
VERSION = hashlib.sha256(b"".join(name.encode() + data for name, data in FILES.items())).hexdigest()[:12]


def address(name: str) -> str:
    """The URL of an asset: may be kept for ever."""
    return f"/static/{VERSION}/{name}"
