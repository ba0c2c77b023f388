"""The stages of the road as commands over a small collection, each in a fork of a process that has imported all."""

from __future__ import annotations

import ctypes
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sightline.cli.main
import sightline.models.encoder
import sightline.runs.contest
import sightline.runs.train
from support.processes import forks

STAGES = ("ingest", "questions", "mine", "check", "train", "eval", "compare", "convert", "index")
# What a stage that has succeeded leaves in its folder, and one that has not does not.
RESULTS = {
    "ingest": "out/dataset.json",
    "mine": "pages/negatives.parquet",
    "check": "out/dataset.json",
    "train": "out/results.json",
    "eval": "out/results.json",
    "compare": "out/results.json",
    "convert": "out/queries.jsonl",
    "index": "out/index.json",
}
RECIPE = """
[model]
name = "{model}"
device = "cpu"
[data]
dataset = "pages"
fields = "text"
[loss]
name = "infonce"
temperature = 0.05
[training]
max_steps = 4
dataloader_num_workers = 0
per_device_train_batch_size = 4
learning_rate = 1e-3
save_strategy = "steps"
save_steps = 1
save_total_limit = 2
eval_strategy = "no"
[output]
dir = "out"
report = false
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative for a signal), what it wrote to both streams, and when."""

    code: int
    said: str
    seconds: float

    @property
    def last(self) -> str:
        return self.said.strip().split("\n")[-1]


@dataclass(frozen=True)
class Road:
    """A folder in which all stages can be run: ``in`` (documents), ``questions.jsonl``, ``pages`` (the dataset made
    of them), ``recipe.toml``; what they write goes to ``out``."""

    root: Path
    model: Path

    def arguments(self, stage: str) -> list[str]:
        """Of the `sightline` command; paths are relative to the folder, in which it is run."""
        model = str(self.model)
        return {
            "ingest": ["ingest", "in", "-o", "out", "-q", "questions.jsonl", "--pixels", "20000", "--workers", "1",
                       "--ocr", "none"],
            "questions": ["questions", "pages", "--offline"],
            "mine": ["mine", "pages", "--model", model, "--fields", "text", "-n", "2", "--device", "cpu"],
            "check": ["check", "pages", "--fix", "out", "--workers", "1"],
            "train": ["train", "recipe.toml", "--resume"],
            "eval": ["eval", model, "pages", "--fields", "text", "-o", "out/results.json", "--device", "cpu"],
            "compare": ["compare", "bm25", f"tiny=text:{model}", "--on", "pages", "-o", "out/results.json",
                        "--runs", "out/runs", "--device", "cpu"],
            "convert": ["convert", "pages", "-o", "out", "--to", "beir"],
            "index": ["index", "pages", "-m", model, "-o", "out", "--device", "cpu"],
        }[stage]  # fmt: skip

    @property
    def cache(self) -> Path:
        """What the doctor remembers."""
        return self.root.with_name(f"{self.root.name}.cache")

    def copy(self, root: Path) -> Road:
        shutil.copytree(self.root, root, symlinks=True)
        return Road(root, self.model)

    def run(
        self,
        arguments: list[str],
        *,
        within: Callable[[], None] | None = None,
        kill_after: float | None = None,
    ) -> Ended:
        """Runs the command, after ``within`` in its process; SIGKILL after so many seconds, its own children too."""
        said = self.root.with_name(f"{self.root.name}.said")
        process = forks().Process(target=_command, args=(self, arguments, said, within))
        started = time.monotonic()
        process.start()
        process.join(100 if kill_after is None else kill_after)
        if process.exitcode is None:
            assert process.pid is not None
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it leads no group yet, or has just ended
                process.kill()
            process.join()
            assert kill_after is not None, f"it hangs: {said.read_text()}"
        assert process.exitcode is not None
        return Ended(process.exitcode, said.read_text(), time.monotonic() - started)


# Texts that questions can be made of, too.
PAGES = (
    """{0} in the annual report
Total costs of {0} rose to {1} million in 2023, which is more than the budget foresaw for the year.
Figure 3: Demand for {0} by month
The contractor delivered {0} to hall {1} under a licence of the ministry.""",
    """How {0} are looked after
About {1}% of residents say that {0} near the terminal disturb their sleep at night.
To report trouble with {0}, call office {1} and give the time and the place.
Table 4. Complaints about {0} by quarter""",
)


def small_road(root: Path, model: Path) -> Road:
    """Six documents of two pages, a question by a person about each page, two documents held out."""
    from support.mined_pages import sheet_of_lines

    words = ("bees", "bread", "clocks", "engines", "violins", "volcanoes")
    for number, word in enumerate(words):
        texts = [page.format(word, 17 + number) for page in PAGES]
        sheet_of_lines(root / "in" / f"{word}.pdf", texts)
    asked = [
        {"id": f"{word}-{page}", "query": query.format(word), "document": f"{word}.pdf", "pages": [page]}
        for word in words
        for page, query in enumerate(("What did {} cost?", "Who hears {} at night?"))
    ]
    (root / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (root / "recipe.toml").write_text(RECIPE.format(model=model))
    road = Road(root, model)
    made = road.run(road.arguments("ingest"))
    assert made.code == 0, made.said
    (root / "out").rename(root / "pages")
    return road


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def killed_again_and_again(road: Road, stage: str, seconds: float, *, seed: int, times: int = 5) -> None:
    """Kills a stage so many times at random moments of the ``seconds`` it takes, then lets it end.

    Where it ends before it is killed (what is kept of a run that was killed makes the next one faster), it starts
    again without its output, in the time it took. So does ``check``, which refuses a folder that is there, where its
    copy was whole and it was killed while it looked at that.
    """
    chance, killed = random.Random(seed), 0
    for _ in range(3 * times):
        ended = road.run(road.arguments(stage), kill_after=seconds * chance.uniform(0.1, 0.95))
        assert ended.code in (0, -signal.SIGKILL), ended.said
        whole = ended.code == 0 or (stage == "check" and (road.root / RESULTS[stage]).exists())
        if whole:
            seconds = ended.seconds
            shutil.rmtree(road.root / "out", ignore_errors=True)
        killed += not whole
        if killed == times:
            break
    assert killed == times
    ended = road.run(road.arguments(stage))
    assert ended.code == 0, ended.said


def without_rights() -> None:
    """For ``within``: this process, root's too, may only read what the files' modes allow."""
    _unshare(_NEW_USER)


def on_a_full_disk(road: Road, stage: str, free: int) -> dict[str, object]:
    """Runs a stage in a folder on a small disk of its own, with ``free`` bytes left on it; then once more with room.

    Returns:
        what was seen: exit codes, what was said, and the contents of the folder after the first try. Exit code 77 where
        no disk can be mounted.
    """
    seen = road.root.with_name(f"{road.root.name}.{stage}.seen")
    process = forks().Process(target=_full_disk, args=(road, stage, free, seen))
    process.start()
    process.join(100)
    if process.exitcode == 77:
        return {"code": 77}
    found: dict[str, object] = json.loads(seen.read_text())
    return found


def _full_disk(road: Road, stage: str, free: int, seen: Path) -> None:
    user, group = os.getuid(), os.getgid()
    try:
        _unshare(_NEW_USER | _NEW_MOUNTS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        disk = road.root.with_name(f"{road.root.name}.{stage}.disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(disk)], check=True)
    except (OSError, subprocess.CalledProcessError):
        sys.exit(77)
    there = road.copy(disk / "road")
    filler = disk / "filler"
    space = os.statvfs(disk)
    filler.write_bytes(bytes(space.f_bavail * space.f_frsize - free))
    code, said = _forked(there, stage, seen.with_suffix(".said"))
    left = contents(there.root)
    filler.unlink()
    again, said_again = _forked(there, stage, seen.with_suffix(".again"))
    facts = {"code": code, "said": said, "left": left, "again": again, "said_again": said_again}
    seen.write_text(json.dumps(facts))


def _forked(road: Road, stage: str, said: Path) -> tuple[int, str]:
    child = os.fork()
    if not child:
        try:
            _command(road, road.arguments(stage), said, None)
        except SystemExit as leaving:
            os._exit(leaving.code if isinstance(leaving.code, int) else 0)
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.read_text()


def _command(road: Road, arguments: list[str], said: Path, within: Callable[[], None] | None) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # for its workers, which would inherit "forkserver"
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ["SIGHTLINE_CACHE"] = str(road.cache)
    os.chdir(road.root)
    if within is not None:
        within()
    sightline.cli.main.main(arguments)


_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS and CLONE_NEWUSER of unshare(2)


def _unshare(what: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(what):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
