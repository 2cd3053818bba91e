"""The store: objects by their hash, manifests by their backup; what no manifest names can be swept."""

import hashlib
import os
import re
from pathlib import Path

from core.store.manifest import ID, Manifest, ManifestDamaged, decode
from core.store.places import GoOn, Place, hash_of, parts, place, proceed

OBJECTS, BACKUPS = "objects", "backups"
OBJECT = re.compile(rf"{OBJECTS}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})")
PLAN = "plan"  # the suffix of a backup in the making: what it names is not swept


class ObjectDamaged(Exception):
    """An object is missing or holds other bytes than its name says."""

    def __init__(self, sha256: str, what: str) -> None:
        super().__init__(f"{object_name(sha256)} {what}")
        self.sha256, self.what = sha256, what


def object_name(sha256: str) -> str:
    """objects/<2>/<sha256>"""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def manifest_name(backup: str) -> str:
    """backups/<id>.json"""
    return f"{BACKUPS}/{backup}.json"


class Store:
    """Backups at one target."""

    def __init__(self, where: Place) -> None:
        self.where = where

    @classmethod
    def at(cls, target: str, root: Path) -> "Store":
        """The store of a target; a relative folder is meant inside `root`. Raises StoreFailed."""
        return cls(place(target, root))

    # -- objects ---------------------------------------------------------------------------------------

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Is there an object of this name and size? What it holds, only `problem` says."""
        return self.where.size(object_name(sha256)) == size_bytes

    def put(self, sha256: str, source: Path, go_on: GoOn = proceed) -> None:
        """A copy of a file as an object, durable; one that is there is replaced. Raises Changed."""
        self.where.put(object_name(sha256), source, sha256, go_on)

    def problem(self, sha256: str, size_bytes: int, *, read: bool = True) -> str | None:
        """What is wrong with an object; `read`: its every byte, or only its size. None: nothing."""
        try:
            size = self.where.size(object_name(sha256))
            if size is None:
                return "is missing"
            if size != size_bytes:
                return "has another size than was written"
            if not read:
                return None
            with self.where.open(object_name(sha256)) as file:
                return None if hash_of(file) == sha256 else "holds other bytes than were written"
        except FileNotFoundError:
            return "is missing"

    def fetch(self, sha256: str, target: Path, mode: int, go_on: GoOn = proceed) -> None:
        """An object as a new file, checked while it is written, durable. Raises ObjectDamaged."""
        digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with (
                self.where.open(object_name(sha256)) as reading,
                os.fdopen(os.open(target, flags, 0o600), "wb") as writing,
            ):
                for part in parts(reading, go_on):
                    digest.update(part)
                    writing.write(part)
                writing.flush()
                os.fchmod(writing.fileno(), mode & 0o700 | 0o600)
                os.fsync(writing.fileno())
        except FileNotFoundError as error:
            raise ObjectDamaged(sha256, "is missing") from error
        if digest.hexdigest() != sha256:
            raise ObjectDamaged(sha256, "holds other bytes than were written")

    # -- manifests -------------------------------------------------------------------------------------

    def plan(self, manifest: Manifest) -> None:
        """Say what will be put, before the first object."""
        self.where.put_bytes(f"{BACKUPS}/{manifest.id}.{PLAN}", manifest.encode())

    def complete(self, manifest: Manifest) -> None:
        """The manifest in its place, the last thing of a backup: from here on it can be restored."""
        self.where.put_bytes(manifest_name(manifest.id), manifest.encode())
        self.where.delete(f"{BACKUPS}/{manifest.id}.{PLAN}")

    def raw(self, backup: str) -> bytes:
        """The bytes of a manifest. Raises FileNotFoundError."""
        with self.where.open(manifest_name(backup)) as file:
            return file.read()

    def manifest(self, backup: str) -> Manifest:
        """A backup's manifest. Raises ManifestDamaged, also when it is missing."""
        try:
            found = decode(self.raw(backup))
        except FileNotFoundError as error:
            raise ManifestDamaged(f"{manifest_name(backup)} is missing") from error
        except ManifestDamaged as error:
            raise ManifestDamaged(f"{manifest_name(backup)}: {error}") from error
        if found.id != backup:
            raise ManifestDamaged(f"{manifest_name(backup)} is the manifest of {found.id}")
        return found

    def backups(self) -> list[str]:
        """The ids of all whole backups, in no order that means anything."""
        names = (name.removeprefix(f"{BACKUPS}/") for name in self.where.names(BACKUPS))
        return [n.removesuffix(".json") for n in names if n.endswith(".json") and ID.fullmatch(n[:-5])]

    # -- deleting --------------------------------------------------------------------------------------

    def drop(self, backup: str) -> None:
        """Forget a backup: its objects are swept afterwards."""
        self.where.delete(manifest_name(backup))
        self.where.delete(f"{BACKUPS}/{backup}.{PLAN}")

    def sweep(self) -> int:
        """Delete every object that no manifest and no plan names; gives the bytes.

        As long as a manifest cannot be read, nothing goes: nobody knows what it names. Needs no free space.
        """
        named = self._named()
        if named is None:
            return 0
        freed = 0
        for name in self.where.names(OBJECTS):
            known = OBJECT.fullmatch(name)
            if known is None or known.group(2) not in named:
                freed += self.where.size(name) or 0
                self.where.delete(name)
        return freed

    def _named(self) -> set[str] | None:
        named: set[str] = set()
        for name in self.where.names(BACKUPS):
            if name.endswith(".partial"):
                self.where.delete(name)  # a manifest or plan that a crash left half written
                continue
            try:
                with self.where.open(name) as file:
                    named |= decode(file.read()).objects.keys()
            except ManifestDamaged:
                return None
        return named
