"""Office files to PDF, through LibreOffice where it is installed.

It runs without a window, with a profile of its own in the dataset's work folder: macros are off, links to
other files and pages are not followed. Time is kept by whoever watches the worker process, whose process
group LibreOffice is in.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sightline.documents.kinds import OFFICE
from sightline.documents.rawpages import StorageError
from sightline.documents.records import IngestSettings
from sightline.documents.store import WORK
from sightline.errors import MediaError

PACKAGES = "libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui"
MEMORY_MB = 6144  # address space; it maps some 2 GiB to start with
_LOW_DISK = 32 << 20
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_START = ("--headless", "--norestore", "--nologo", "--nodefault", "--nolockcheck", "--nofirststartwizard")

# Value by value: macros never run and are not asked about, no content from elsewhere, and for what would
# try all the same a proxy that nothing listens at.
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
{}
</oor:items>
"""
_ITEM = (
    '<item oor:path="/org.openoffice.{}"><prop oor:name="{}" oor:op="fuse"><value>{}</value></prop></item>'
)
_SETTINGS = (
    ("Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Office.Writer/Content/Update", "Link", "0"),
    ("Office.Calc/Content/Update", "Link", "1"),
    ("Inet/Settings", "ooInetProxyType", "2"),
    ("Inet/Settings", "ooInetHTTPProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPProxyPort", "9"),
    ("Inet/Settings", "ooInetHTTPSProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPSProxyPort", "9"),
    ("Inet/Settings", "ooInetNoProxy", ""),
)


def find_office() -> str | None:
    """The command of LibreOffice, where it is installed."""
    return shutil.which("soffice") or shutil.which("libreoffice")


@cache
def office_version() -> str:
    """``"LibreOffice 7.4.7.2"``; ``""`` where it is not installed or does not start."""
    command = find_office()
    if command is None:
        return ""
    try:
        answer = subprocess.run(
            [command, "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = answer.stdout.split()
    return " ".join(words[:2]) if answer.returncode == 0 and len(words) > 1 else ""


@contextmanager
def converted(
    path: Path, root: Path, settings: IngestSettings, converting: Callable[[str], None]
) -> Iterator[Path]:
    """The file as a PDF, for as long as the context lasts.

    Args:
        path: of the Office file.
        root: the dataset folder; the work is done below it.
        settings: its limits.
        converting: called with name and version of the program before it starts.

    Raises:
        MediaError: when there is no LibreOffice, or it cannot read the file.
        StorageError: when there is no room to work in.
    """
    name, part = OFFICE[path.suffix.lower()]
    _check_container(path, name)
    command = find_office()
    program = office_version()
    if command is None or not program:
        raise MediaError(
            f"{name} files are read through LibreOffice, which is not installed"
            f" (Debian, Ubuntu: apt-get install {PACKAGES}); install it, or save the file as PDF"
        )
    work = root / WORK / str(os.getpid())
    copy = work / f"document{path.suffix.lower()}"
    pdf = work / "document.pdf"
    try:
        profile = _profile(work)
        pdf.unlink(missing_ok=True)
        # A copy, because LibreOffice puts a lock file beside what it opens.
        shutil.copyfile(path, copy)
    except OSError as error:
        raise StorageError(f"cannot write {work}: {error.strerror}") from error
    try:
        converting(program)
        said = _run([command, f"-env:UserInstallation={profile.as_uri()}", *_START, *_target(work, copy)])
        if not pdf.is_file():
            if shutil.disk_usage(root).free < _LOW_DISK:
                raise StorageError(f"cannot write {work}: No space left on device")
            shutil.rmtree(profile, ignore_errors=True)  # whatever upset it may have left traces
            raise MediaError(
                f"LibreOffice cannot convert it: the file is damaged or protected, or libreoffice-{part}"
                f" is not installed ({said or 'it gave no reason'})"
            )
        yield pdf
    finally:
        copy.unlink(missing_ok=True)
        pdf.unlink(missing_ok=True)


def _target(work: Path, copy: Path) -> list[str]:
    return ["--convert-to", "pdf", "--outdir", str(work.absolute()), str(copy.absolute())]


def _check_container(path: Path, name: str) -> None:
    """Refuse what is no such file before LibreOffice guesses at it, which takes seconds.

    Raises:
        MediaError: for a file of another kind, or an encrypted one.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if start == _COMPOUND_FILE:
            # Encrypted files of the newer kinds are kept in a container of the old kind.
            file.seek(0)
            if path.suffix.lower() in (".docx", ".pptx", ".xlsx") and _ENCRYPTED in file.read(1 << 20):
                raise MediaError(f"the {name} file is encrypted and needs a password; save it without one")
            return
    if start.startswith(b"{\\rtf") or (start.startswith(b"PK") and zipfile.is_zipfile(path)):
        return
    raise MediaError(f"the {name} file is broken, or something else")


def _profile(work: Path) -> Path:
    """The folder of a LibreOffice profile that is safe for files of strangers."""
    profile = (work / "profile").absolute()
    settings = profile / "user" / "registrymodifications.xcu"
    if not settings.is_file():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(_PROFILE.format("\n".join(_ITEM.format(*item) for item in _SETTINGS)), "utf-8")
    return profile


def _run(command: list[str]) -> str:
    """Run LibreOffice to its end; the last thing it said."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MEMORY_MB << 20
    # A child takes over the limits of this process, which are too narrow for it.
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else hard, hard))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SAL_USE_VCLPLUGIN": "svp"},
            check=False,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    lines = done.stdout.decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
