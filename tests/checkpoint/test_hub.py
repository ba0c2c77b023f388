"""Names on the Hub: a fake one on the loopback address, an unreachable one, none at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sightline.checkpoint.hub import _duplicate_weights
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
from support.fake_hub import FakeHub, run, running


@pytest.fixture
def hub(tiny: Callable[[str], Path], tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with the repository ``lab/tiny``, whose branch ``first`` holds a cut version of its model."""
    folder = tmp_path / "repository"
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu")
    encoder.save_pretrained(folder, truncate_dim=8, verify=False)
    with running() as server:
        server.add("lab/tiny", folder, branch="first")
        encoder.save_pretrained(folder, verify=False)
        # What a repository holds beside the files we read.
        for name in (
            "pytorch_model.bin",
            "onnx/model.onnx",
            "tf_model.h5",
            "2_Dense/pytorch_model.bin",
            "optimizer.pt",
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"not to be read")
        server.add("lab/tiny", folder)
        yield server


LOAD = """
import sys
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
for name, local in (("lab/tiny", False), ("lab/tiny", True), ("lab/missing", False)):
    try:
        encoder = Encoder.from_pretrained(name, device="cpu", cache_dir=sys.argv[1], local_files_only=local)
        print(">", name, [round(one, 4) for one in encoder.encode("hello").values[0, :3].tolist()])
    except CheckpointError as error:
        print("> CheckpointError", error)
"""


def test_a_name_is_downloaded_once_without_what_is_not_read(
    hub: FakeHub, tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    lines = run(hub.address, tmp_path / "home", LOAD, str(tmp_path / "cache"))
    # Rounded: where a process's memory lies may decide the last bit of a product.
    vector = [round(one, 4) for one in tiny_encoder("bert").encode("hello").values[0, :3].tolist()]
    wanted = f"lab/tiny {vector}"
    assert lines[:2] == [wanted, wanted]  # the second time from the cache, without asking
    assert lines[2].startswith("CheckpointError lab/missing: cannot be loaded from the Hub: ")
    assert len(hub.sent) == len(set(hub.sent))
    assert {"model.safetensors", "modules.json", "1_Pooling/config.json"} <= set(hub.sent)
    # The head's weights are there as .bin alone, so they are fetched; the backbone's are not fetched twice.
    assert "2_Dense/pytorch_model.bin" in hub.sent
    assert not {"pytorch_model.bin", "onnx/model.onnx", "tf_model.h5", "optimizer.pt"} & set(hub.sent)


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    for line in run("http://127.0.0.1:9", tmp_path, LOAD, str(tmp_path)):
        assert line.startswith("CheckpointError lab/")
        assert "no such folder, and not in the Hub's cache" in line


REVISIONS = """
import sys
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
for revision in (None, "first", sys.argv[1], "second"):
    try:
        encoder = Encoder.from_pretrained("lab/tiny", device="cpu", revision=revision)
        print(">", encoder.encode("hello").shape)
    except CheckpointError as error:
        print("> CheckpointError", error)
"""


def test_a_revision_is_a_branch_or_a_commit(hub: FakeHub, tmp_path: Path) -> None:
    first = hub.repos["lab/tiny"].branches["first"]
    *found, missing = run(hub.address, tmp_path / "home", REVISIONS, first)
    assert found == ["(1, 32)", "(1, 8)", "(1, 8)"]
    assert missing.startswith("CheckpointError lab/tiny: cannot be loaded from the Hub: ")


def test_offline(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lab/nothing: no such folder, and not in the Hub's cache"):
        Encoder.from_pretrained("lab/nothing", cache_dir=tmp_path)
    for name in ("a b", "lab/../x", "lab/tiny?", "lab/tiny@main", ""):
        with pytest.raises(CheckpointError):
            Encoder.from_pretrained(name, cache_dir=tmp_path)


def test_pickled_weights_are_left_out_only_beside_safetensors() -> None:
    files = [
        "model.safetensors",
        "pytorch_model.bin",
        "2_Dense/pytorch_model.bin",
        "3_Dense/model.safetensors",
    ]
    assert _duplicate_weights([*files, "3_Dense/pytorch_model.bin"]) == [
        "pytorch_model.bin",
        "3_Dense/pytorch_model.bin",
    ]
    assert _duplicate_weights(["pytorch_model.bin"]) == []
