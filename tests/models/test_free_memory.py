"""What the control groups around a process leave it, read from made-up folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sightline.models import free_memory
from sightline.models.free_memory import free_bytes, group_bytes

GB = 10**9
MOUNT_TWO = "30 23 0:26 {top} {place} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
MOUNT_ONE = "36 30 0:33 {top} {place} rw,relatime shared:13 - cgroup cgroup rw,memory"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def two(folder: str, limit: int | str, used: int, cache: int = 0) -> dict[str, str]:
    """A group of version 2."""
    return {
        f"{folder}/memory.max": str(limit),
        f"{folder}/memory.current": str(used),
        f"{folder}/memory.stat": f"anon 5\nfile 9\ninactive_file {cache}\nactive_file 3",
    }


def one(folder: str, limit: int, used: int, cache: int = 0) -> dict[str, str]:
    """A group of version 1."""
    return {
        f"{folder}/memory.limit_in_bytes": str(limit),
        f"{folder}/memory.usage_in_bytes": str(used),
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {cache}",
    }


def test_the_least_of_all_groups_around_the_process_counts(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"proc/self/cgroup": "0::/user.slice/run.scope"}
        | {"proc/self/mountinfo": MOUNT_TWO.format(top="/", place="/sys/fs/cgroup")}
        | two("sys/fs/cgroup/user.slice/run.scope", 8 * GB, 1 * GB)
        | two("sys/fs/cgroup/user.slice", 6 * GB, 4 * GB)
        | two("sys/fs/cgroup/user.slice/another", 1 * GB, 1 * GB),
    )  # fmt: skip
    assert group_bytes(root) == 2 * GB, "what the group around it has left, though the own one has 7"
    write(root, two("sys/fs/cgroup/user.slice/run.scope", 2 * GB, 1 * GB))
    assert group_bytes(root) == 1 * GB, "the own one, though the root's files do not exist"


def test_file_cache_counts_as_free(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/"} | two("sys/fs/cgroup", 4 * GB, 4 * GB, cache=3 * GB)
    assert group_bytes(write(tmp_path, files)) == 3 * GB
    assert group_bytes(write(tmp_path, two("sys/fs/cgroup", 2 * GB, 4 * GB, cache=1 * GB))) == 0


def test_no_limit_and_missing_files(tmp_path: Path) -> None:
    assert group_bytes(tmp_path) is None, "no control groups at all, as on macOS"
    root = write(tmp_path, {"proc/self/cgroup": "0::/a/b"} | two("sys/fs/cgroup/a/b", "max", 7))
    assert group_bytes(root) is None
    write(root, two("sys/fs/cgroup/a", 3 * GB, 1 * GB))
    (root / "sys/fs/cgroup/a/memory.stat").unlink()
    assert group_bytes(root) == 2 * GB, "without memory.stat nothing is known of the cache"
    (root / "sys/fs/cgroup/a/memory.current").unlink()
    assert group_bytes(root) is None


@pytest.mark.parametrize(
    ("own", "top"),
    [
        ("/docker/3f", "/docker/3f"),  # the host's path, of which the container sees its own part
        ("/", "/"),  # a namespace of its own
        ("/../3f", "/"),  # entered from outside
        ("/kubepods/pod7", "/docker/3f"),  # of a namespace that is not this one
    ],
)
def test_a_container_finds_its_own_group(tmp_path: Path, own: str, top: str) -> None:
    mount = MOUNT_ONE.format(top=top, place="/sys/fs/cgroup/memory")
    files = {
        "proc/self/cgroup": f"12:cpu,cpuacct:/\n4:memory:{own}\n0::{own}",
        "proc/self/mountinfo": mount,
    }
    root = write(tmp_path, files | one("sys/fs/cgroup/memory", 5 * GB, 3 * GB, cache=1 * GB))
    assert group_bytes(root) == 3 * GB


def test_version_one_is_found_where_it_is_mounted(tmp_path: Path) -> None:
    mounts = [
        "31 30 0:27 / /cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct",
        MOUNT_ONE.format(top="/", place=r"/odd\040place/memory"),
        "32 30 0:28 / /sys rw - sysfs sysfs rw",
    ]
    files = {"proc/self/cgroup": "4:memory:/batch/job", "proc/self/mountinfo": "\n".join(mounts)}
    unlimited = one("odd place/memory", 9223372036854771712, 1 * GB)
    root = write(tmp_path, files | unlimited | one("odd place/memory/batch", 4 * GB, 1 * GB))
    assert group_bytes(root) == 3 * GB


def test_a_limit_bounds_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(free_memory, "group_bytes", lambda: None)
    machine = free_bytes(cpu)
    assert machine > 0
    monkeypatch.setattr(free_memory, "group_bytes", lambda: 4096)
    assert free_bytes(cpu) == 4096
