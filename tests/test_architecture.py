"""The house rules a machine can check; sources are parsed, not imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "sightline"

# A module imports only from the rooms before its own, and from its own room.
ROOMS = (
    "errors",
    "files",
    "types",
    "config",
    "inputs",
    "modules",
    "checkpoint",
    "models",
    "losses",
    "training",
    "evaluation",
    "documents",
    "search",
    "feedback",
    "runs",
    "export",
    "serving",
    "demo",
    "cli",
    "compat",
)
MAX_LINES = 400
# What a person may run on a small machine, or in a worker process, must not wait for these.
HEAVY = {
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "peft",
    "lancedb",
    "matplotlib",
    "pandas",
    "pyarrow",
}
LIGHT_ROOMS = {"", "types", "errors", "files", "config", "documents", "demo", "cli"}


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax tree of every module of the package."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def imports(name: str, *, inner: bool) -> Iterator[tuple[str, int]]:
    """Modules that `name` imports, with lines.

    Imports under TYPE_CHECKING count as inner ones, like those inside functions: they do not run
    when the module is imported.
    """
    is_package = (SRC.parent / Path(*name.split("."))).is_dir()
    pending: list[tuple[ast.AST, bool]] = [(node, False) for node in modules()[name].body]
    while pending:
        node, inside = pending.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if inside and not inner:
                continue
            yield from ((target, node.lineno) for target in _targets(node, name, is_package))
            continue
        deeper = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += [(child, True) for child in node.body] + [(child, deeper) for child in node.orelse]
        else:
            pending += [(child, deeper) for child in ast.iter_child_nodes(node)]


def _targets(node: ast.Import | ast.ImportFrom, name: str, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        parents = name.split(".")[: len(name.split(".")) - node.level + int(is_package)]
        base = ".".join([*parents, *([node.module] if node.module else [])])
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in modules() else base


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_every_room_has_its_place() -> None:
    assert {room(name) for name in modules()} - {""} <= set(ROOMS)


def test_modules_import_only_from_rooms_before_theirs() -> None:
    wrong = [
        f"{name}:{line} imports {target}"
        for name in modules()
        if name != "sightline"
        for target, line in imports(name, inner=True)
        if target.startswith("sightline.") and ROOMS.index(room(target)) > ROOMS.index(room(name))
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_version_is_taken_from_the_top() -> None:
    # `from sightline import Encoder` inside the package would run through the lazy public surface.
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "sightline" and not node.level
        for alias in node.names
        if alias.name != "__version__" and f"sightline.{alias.name}" not in modules()
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    # Imports inside functions and for type checkers count: a cycle that is put off is still a cycle.
    graph = {
        name: sorted(
            {t for t, _ in imports(name, inner=True) if t in modules() and t not in (name, "sightline")}
        )
        for name in modules()
        if name != "sightline"
    }
    state: dict[str, str] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if state.get(name) == "done":
            return
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        for target in graph[name]:
            visit(target, (*trail, name))
        state[name] = "done"

    for name in graph:
        visit(name, ())


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(SRC.parent)): count
        for path in SRC.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long


def test_light_rooms_import_heavy_libraries_inside_functions_only() -> None:
    wrong = [
        f"{name}:{line} imports {target}"
        for name in modules()
        if room(name) in LIGHT_ROOMS
        for target, line in imports(name, inner=False)
        if target.split(".")[0] in HEAVY
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("banned", ["print", "hasattr", "eval", "exec"])
def test_calls_the_house_does_without(banned: str) -> None:
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == banned
    ]
    assert not wrong, "\n".join(wrong)


def test_public_list_is_sorted_and_complete() -> None:
    tree = modules()["sightline"]
    listed = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    lazy = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_HOMES" and node.value is not None
    )
    typed = {
        (alias.asname, f"{node.module}")
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert listed == sorted(listed)
    assert set(listed) == set(lazy) | {"__version__"}
    assert typed == set(lazy.items()), "the imports for type checkers and the lazy ones differ"


def test_public_names_resolve() -> None:
    import sightline

    for name in sightline.__all__:
        assert getattr(sightline, name).__doc__, name
    assert set(sightline.__all__) <= set(dir(sightline))
    with pytest.raises(AttributeError, match="did you mean 'Encoder'"):
        _ = sightline.Encodr


def test_import_loads_nothing_but_itself() -> None:
    """So it takes milliseconds: what is slow to load, torch above all, comes with the first name that needs it."""
    script = "import sys; before = set(sys.modules); import sightline; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in run.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}
    assert loaded == {"sightline"}
