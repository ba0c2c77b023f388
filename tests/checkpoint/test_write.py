"""Replacing a model on disk: kills, other people's files, files of the model before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sightline.checkpoint.layout import replacement_paths
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
from sightline.modules.heads import Normalize
from support.fixtures import TEXTS

TinyEncoder = Callable[[str], Encoder]


@pytest.fixture
def encoder(tiny_encoder: TinyEncoder) -> Encoder:
    return tiny_encoder("bert")


@pytest.fixture
def changed(encoder: Encoder) -> Encoder:
    """A model whose vectors are others."""
    return Encoder([*encoder.parts, Normalize()]).eval()  # type: ignore[list-item]


def vectors(folder: Path) -> torch.Tensor:
    return Encoder.from_pretrained(folder, device="cpu").encode(TEXTS).values


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_kill_before_the_replacement_leaves_the_old_model(
    encoder: Encoder, changed: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    encoder.save_pretrained(folder)
    aside = replacement_paths(folder)[1]
    shutil.copytree(folder, aside)
    (aside / "model.safetensors").write_bytes(b"half of")  # killed while writing
    assert torch.equal(vectors(folder), encoder.encode(TEXTS).values)
    changed.save_pretrained(folder)
    assert torch.equal(vectors(folder), changed.encode(TEXTS).values)
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("then", ["read", "write"])
def test_a_kill_between_the_two_renames_is_made_good(
    then: str, encoder: Encoder, changed: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    old, aside = replacement_paths(folder)
    encoder.save_pretrained(folder)
    (folder / "optimizer.pt").write_text("state")
    changed.save_pretrained(aside)
    folder.rename(old)
    if then == "write":
        changed.save_pretrained(folder)
    assert torch.equal(vectors(folder), changed.encode(TEXTS).values)
    changed.save_pretrained(folder)
    assert (folder / "optimizer.pt").read_text() == "state"
    assert names(tmp_path) == {"model"}


def test_a_kill_after_the_renames_loses_nothing(encoder: Encoder, changed: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    old, _ = replacement_paths(folder)
    encoder.save_pretrained(old)
    (old / "notes.txt").write_text("mine")
    changed.save_pretrained(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(folder)
    assert torch.equal(vectors(folder), changed.encode(TEXTS).values)
    encoder.save_pretrained(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert torch.equal(vectors(folder), encoder.encode(TEXTS).values)
    assert names(tmp_path) == {"model"}


def test_a_failed_write_leaves_the_old_model(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    encoder.save_pretrained(folder)
    before = vectors(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoder.backbones()[""].model, "save_pretrained", full)
    with pytest.raises(OSError, match="No space"):
        encoder.save_pretrained(folder)
    assert torch.equal(vectors(folder), before)


def test_what_belongs_to_no_model_stays(encoder: Encoder, changed: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    encoder.save_pretrained(folder, card="# old\n")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "logs").mkdir()
    (folder / "logs" / "events").write_text("log")
    changed.save_pretrained(folder)
    assert (folder / "trainer_state.json").exists()
    assert (folder / "logs" / "events").read_text() == "log"
    assert (folder / "README.md").read_text() == "# old\n"
    changed.save_pretrained(folder, card="# new\n")
    assert (folder / "README.md").read_text() == "# new\n"


def test_files_of_the_model_before_go(tiny_encoder: TinyEncoder, changed: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_encoder("qwen3_vl").save_pretrained(folder)
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"a shard")
    (folder / "model.safetensors.index.json").write_text("{}")
    changed.save_pretrained(folder)
    assert torch.equal(vectors(folder), changed.encode(TEXTS).values)
    tiny_encoder("bert").save_pretrained(folder)
    fresh = tmp_path / "fresh"
    tiny_encoder("bert").save_pretrained(fresh)
    assert names(folder) == names(fresh)


def test_a_folder_with_other_files_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "thesis.docx").write_text("years of work")
    with pytest.raises(CheckpointError, match="papers: exists and holds no model; choose another folder"):
        encoder.save_pretrained(folder)
    assert names(folder) == {"thesis.docx"}
    file = tmp_path / "file"
    file.write_text("a file")
    with pytest.raises(CheckpointError, match="file: exists and holds no model"):
        encoder.save_pretrained(file)
    assert names(tmp_path) == {"papers", "file"}


def test_an_empty_folder_and_missing_parents_are_fine(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "model"):
        encoder.save_pretrained(folder)
        assert torch.equal(vectors(folder), encoder.encode(TEXTS).values)


def test_a_link_to_a_folder_stays_a_link(encoder: Encoder, changed: Encoder, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "model"
    encoder.save_pretrained(tmp_path / "disk" / "real")
    link.symlink_to(tmp_path / "disk" / "real")
    changed.save_pretrained(link)
    assert link.is_symlink()
    assert torch.equal(vectors(link), changed.encode(TEXTS).values)
    assert names(tmp_path / "disk") == {"real"}
