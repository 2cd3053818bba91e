"""The manifest of a backup: every file by its relative name, and the place in the log; it checks itself."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec

FORMAT = 1
ID = re.compile(r"b[0-9]{4,12}")
SHA256 = re.compile(r"[0-9a-f]{64}")

#: The log in a backup; every backup has it.
LOG = "evertrain.sqlite"


class ManifestDamaged(Exception):
    """A manifest is not as it was written, or names what no backup may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file."""

    sha256: str
    size_bytes: int
    mode: int  # permission bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds. `files`: name relative to the workspace → entry."""

    format: int
    id: str
    created_at: str  # ISO 8601
    software: str
    base_model: str
    started: tuple[int, str]  # seq of its BackupStarted and that commit's chain head: whose backup this is
    log: tuple[int, str]  # the log prefix in it, and that prefix's chain head
    versions: tuple[str, ...]
    checkpoints: tuple[str, ...]  # paths
    files: dict[str, Entry]

    @property
    def objects(self) -> dict[str, int]:
        """sha256 → bytes: each content once."""
        return {entry.sha256: entry.size_bytes for entry in self.files.values()}

    @property
    def size_bytes(self) -> int:
        """Of everything it holds, each content once."""
        return sum(self.objects.values())

    def encode(self) -> bytes:
        """The bytes of its file: the manifest and, before it, the hash of exactly those bytes."""
        body = msgspec.json.encode(self)
        return b'{"sha256":"%s","manifest":%s}' % (hashlib.sha256(body).hexdigest().encode(), body)


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    manifest: msgspec.Raw


def decode(raw: bytes) -> Manifest:
    """The manifest of a file. Raises ManifestDamaged: a changed byte, or a name that leads outside."""
    try:
        sealed = msgspec.json.decode(raw, type=_Sealed)
        body = bytes(sealed.manifest)
        if hashlib.sha256(body).hexdigest() != sealed.sha256:
            raise ManifestDamaged("its bytes are not those that were written")
        found = msgspec.json.decode(body, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestDamaged(f"it cannot be read ({type(error).__name__})") from error
    if found.format != FORMAT:
        raise ManifestDamaged(
            f"it has format {found.format}, this evertrain knows {FORMAT}: install the newer one"
        )
    _refuse_slips(found)
    return found


def _refuse_slips(manifest: Manifest) -> None:
    """No name may lead out of the folder restored into, or be a folder and a file at once."""
    if not ID.fullmatch(manifest.id) or LOG not in manifest.files:
        raise ManifestDamaged("it has no proper id, or no log")
    if not is_inside(manifest.base_model):
        raise ManifestDamaged(f"{manifest.base_model!r} is no name inside a workspace")
    for name, entry in manifest.files.items():
        if not is_inside(name) or any(
            parent.as_posix() in manifest.files for parent in PurePosixPath(name).parents
        ):
            raise ManifestDamaged(f"{name!r} is no name of a file inside a workspace")
        if not SHA256.fullmatch(entry.sha256) or entry.size_bytes < 0:
            raise ManifestDamaged(f"{name!r} has no proper hash or size")


def is_inside(name: str) -> bool:
    """Is this a plain relative path: no root, no `..`, nothing that another path would also say?"""
    path = PurePosixPath(name)
    return (
        bool(name)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in name
        and path.as_posix() == name != "."
    )
