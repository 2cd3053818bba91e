"""Export: a copy of a version for another machine, verified at its destination."""

import shutil
from pathlib import Path

from core.files import fsync_file, fsync_folder, printable
from core.inspection import folder_problems
from db.workspace import Workspace
from events.log import Log
from events.types import VersionExported
from projections.versions import Version


class ExportRefused(Exception):
    """Nothing was copied: why, and what to do."""


class ExportFailed(Exception):
    """The copy is not what was published; it was removed."""


def export(workspace: Workspace, log: Log, version: Version, target: Path) -> VersionExported:
    """Copy every file of a version to `target`, never as a link; then tell.

    `target` must not exist, or be an empty folder outside the workspace; it is whole or not there. Raises
    ExportRefused, ExportFailed, OSError.
    """
    target = target.expanduser().resolve()
    if target.is_relative_to(workspace.root):
        raise ExportRefused(f"{target} lies in the workspace: choose a folder outside")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportRefused(f"{target} is there already and not empty: choose another folder")
    if version.state != "kept":
        raise ExportRefused(f"{version.id} is {version.state}: only its facts are left")
    source = workspace.root / version.path
    partial = target.with_name(f".{target.name}.evertrain-partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was cut short
    partial.mkdir(parents=True)
    try:
        for path in sorted(source.iterdir()):
            shutil.copyfile(path, partial / path.name)
            fsync_file(partial / path.name)
        fsync_folder(partial)
        if problems := folder_problems(partial, version.manifest_sha256):
            raise ExportFailed(
                f"{version.id} was not exported: {problems[0]}; `evertrain versions verify {version.id}` "
                "tells whether the version or the copy is damaged"
            )
        partial.rename(target)  # an empty folder there is replaced
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync_folder(target.parent)
    size = sum(path.stat().st_size for path in target.iterdir())
    told = VersionExported(version=version.id, to=printable(str(target)), size_bytes=size)
    log.append(told)
    return told
