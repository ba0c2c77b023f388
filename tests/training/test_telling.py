"""What the Trainer saves and uploads when asked: checked, whole, and with its card."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import CheckpointError
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.modules.heads import POOLED
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.fake_hub import TOKEN, FakeHub, run, running

ROWS = [{"question": f"pump {number}", "page": f"all of pump {number}"} for number in range(8)]


def unsaved(_: Any, __: Any, features: dict[str, Any]) -> dict[str, Any]:
    """A change to a part's output that no file of a checkpoint holds."""
    return features | {POOLED: features[POOLED].flip(-1)}


def test_the_model_that_a_person_saves_is_checked(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    encoder = copy.deepcopy(tiny_encoder("bert"))
    encoder.parts[1].register_forward_hook(unsaved)
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=1, save_steps=1, per_device_train_batch_size=4,
        dataloader_num_workers=0, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(encoder, InfoNCE(), train_dataset=ROWS, args=args)
    trainer.train()
    # The run's own checkpoint has the sums of its files.
    saved = Encoder.from_pretrained(tmp_path / "run" / "checkpoint-1", device="cpu")
    torch.testing.assert_close(saved.state_dict(), encoder.state_dict())
    for save in (trainer.save_model, trainer.model.save_pretrained):
        with pytest.raises(CheckpointError, match="its vectors for text as query differ by"):
            save(str(tmp_path / "final"))
    assert not (tmp_path / "final").exists()
    trainer.model.parts[1]._forward_hooks.clear()
    trainer.save_model(str(tmp_path / "final"))
    assert "- Steps: 1" in (tmp_path / "final" / "README.md").read_text()
    (tmp_path / "final" / "README.md").write_text("# By hand\n")
    trainer.save_model(str(tmp_path / "final"))
    assert (tmp_path / "final" / "README.md").read_text() == "# By hand\n"


TRAINER = """
import sys
from huggingface_hub import HfApi
from sightline.errors import CheckpointError
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.modules.heads import POOLED
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
model, folder, token, strategy = sys.argv[1:]
rows = [{"question": f"pump {number}", "page": f"all of pump {number}"} for number in range(8)]
args = TrainingArguments(
    output_dir=folder, max_steps=2, save_steps=1, per_device_train_batch_size=4, dataloader_num_workers=0,
    report_to=[], use_cpu=True, disable_tqdm=True, push_to_hub=True, hub_model_id="lab/run", hub_token=token,
    hub_always_push=True, hub_strategy=strategy, save_total_limit=1, logging_strategy="no",
)
encoder = Encoder.from_pretrained(model, device="cpu")
trainer = Trainer(encoder, InfoNCE(), train_dataset=rows, args=args)
"""
UPLOADS = f"""{TRAINER}
trainer.train()
print(">", trainer.push_to_hub())
encoder.parts[1].register_forward_hook(lambda _, __, found: found | {{POOLED: found[POOLED].flip(-1)}})
try:
    trainer.push_to_hub("never")
except CheckpointError as error:
    print(">", "its vectors for text as query differ by" in str(error))
"""
OUTAGE = f"""{TRAINER}
create = HfApi.create_repo

def out_of_service(*arguments, **options):
    HfApi.create_repo = create
    raise OSError("Service Unavailable")

HfApi.create_repo = out_of_service
trainer.train()
print(">", trainer.state.global_step)
later = trainer.push_to_hub("later", blocking=False)
print(">", trainer.push_to_hub("last"))
print(">", later.result())
"""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running() as server:
        yield server


def test_what_it_uploads_is_whole(hub: FakeHub, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    given = str(tiny("bert")), str(folder), TOKEN, "every_save"
    address, refused = run(hub.address, tmp_path / "home", UPLOADS, *given)
    repo = hub.repos["lab/run"]
    assert repo.messages == [
        "initial commit", "Training in progress, step 1", "Training in progress, step 2", "End of training",
    ]  # fmt: skip
    assert address == f"{hub.address}/lab/run/commit/{repo.branches['main']}"
    assert refused == "True"
    for step, tree in zip((1, 2, 2), list(repo.commits.values())[1:], strict=True):
        assert {"modules.json", "1_Pooling/config.json", "model.safetensors", "sightline.json"} <= tree.keys()
        assert not {name for name in tree if "checkpoint" in name or name.endswith((".pt", ".bin", ".pth"))}
        card = tree["README.md"].decode()
        assert f"- Steps: {step}" in card
        assert 'sl.Encoder.from_pretrained("lab/run")' in card


def test_training_goes_on_while_it_uploads_and_while_it_cannot(
    hub: FakeHub, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    given = str(tiny("bert")), str(tmp_path / "run"), TOKEN, "all_checkpoints"
    steps, last, later = run(hub.address, tmp_path / "home", OUTAGE, *given)
    assert steps == "2"
    repo = hub.repos["lab/run"]
    told = "Training in progress, step 2"
    # The first step's upload is lost, the run is not.
    assert repo.messages == ["initial commit", told, f"{told}, checkpoint", "later", "last"]
    checkpoint, ended = list(repo.commits.values())[2::2]
    assert {f"checkpoint-2/{name}" for name in ("model.safetensors", "optimizer.pt", "manifest.json")} <= set(
        checkpoint
    )
    assert [address.rpartition("/")[2] for address in (later, last)] == list(repo.commits)[3:]
    assert "model.safetensors" in ended
