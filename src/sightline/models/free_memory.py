"""How much memory a device has left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch


def free_bytes(device: torch.device) -> int:
    """Memory that may still be used: the accelerator's, or the machine's within the control groups' limits."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    left = group_bytes()
    machine = _machine_bytes()
    return machine if left is None else min(machine, left)


def _machine_bytes() -> int:
    """MemAvailable on Linux, half of the physical memory where that file does not exist."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class _Version(NamedTuple):
    """The names of a version of control groups.

    Attributes:
        system: its file system.
        place: where that is mounted if nothing says otherwise.
        limit, used: files of a group.
        cache: the line of memory.stat with the file cache that the kernel gives up first.
    """

    system: str
    place: str
    limit: str
    used: str
    cache: str


_TWO = _Version("cgroup2", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_ONE = _Version(
    "cgroup",
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)


def group_bytes(root: Path = Path("/")) -> int | None:
    """The least that a control group around this process still allows; None where none sets a limit.

    A group's limit holds for all groups in it, so each from the process's own up to the outermost counts. File cache
    that nobody has used lately is given up before a limit is met, and counts as free (as in Kubernetes' working set).

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    left = [
        free
        for version, own in _groups(root)
        for folder in _folders(root, version, own)
        if (free := _left(folder, version)) is not None
    ]
    return min(left, default=None)


def _groups(root: Path) -> Iterator[tuple[_Version, str]]:
    """The process's own memory groups: version 2's, and version 1's where that is mounted too."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        if number == "0" and not controllers:
            yield _TWO, own
        elif "memory" in controllers.split(","):
            yield _ONE, own


def _folders(root: Path, version: _Version, own: str) -> Iterator[Path]:
    """Folders of a group and of those around it, as far as they are mounted here.

    Args:
        own: the group's path, from the root of all groups.
    """
    top, place = _mount(root, version)
    inner = [part for part in Path(own).parts if part != "/"]
    outer = [part for part in Path(top).parts if part != "/"]
    # A container sees its own part of the tree: its group is the mount's root, or its path leads out of it ("/../x").
    inner = inner[len(outer) :] if inner[: len(outer)] == outer else []
    if ".." in inner:
        inner = []
    for depth in range(len(inner), -1, -1):
        yield place.joinpath(*inner[:depth])


def _mount(root: Path, version: _Version) -> tuple[str, Path]:
    """Which part of the tree of groups is mounted, and where; see "mountinfo" in proc(5)."""
    for line in _lines(root / "proc/self/mountinfo"):
        mounted, _, system = line.partition(" - ")
        facts, kind = mounted.split(), system.split()
        if len(facts) < 5 or len(kind) < 3 or kind[0] != version.system:
            continue
        if version is _TWO or "memory" in kind[2].split(","):
            return _unescaped(facts[3]), root / _unescaped(facts[4]).lstrip("/")
    return "/", root / version.place


def _left(folder: Path, version: _Version) -> int | None:
    """What one group still allows; None where it sets no limit, or tells nothing."""
    limit, used = _number(folder / version.limit), _number(folder / version.used)
    if limit is None or used is None:
        return None
    cache = next(
        (int(line.split()[1]) for line in _lines(folder / "memory.stat") if line.split()[0] == version.cache),
        0,
    )
    return max(0, limit - max(0, used - cache))


def _number(file: Path) -> int | None:
    """The number in a file; None for ``max`` and where there is no file."""
    text = " ".join(_lines(file))
    return int(text) if text.isdigit() else None


def _lines(file: Path) -> list[str]:
    """The lines that are not empty; none where the file cannot be read."""
    try:
        return [
            line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
    except OSError:
        return []


def _unescaped(path: str) -> str:
    r"""A path of mountinfo, where a space is written ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
