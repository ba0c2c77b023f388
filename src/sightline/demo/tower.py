"""The image tower of the default model, and how it is taught: its recipe stands apart from the model's.

The tower learns from the pages themselves, without questions: a page's image shall get the vector that
the text tower gives to the opening words of its text layer (contrastive distillation between the two views, as CLIP
does with captions; Radford et al. 2021, arXiv:2103.00020). The text tower stays as it is meanwhile.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.documents.dataset import Dataset
    from sightline.models.encoder import Encoder


# Words of a page its image is compared with: the head of a page is what is set large enough to be seen.
OPENING = 60


@dataclass(frozen=True)
class TowerRecipe:
    """Size and schooling of the image tower.

    Attributes:
        side: pages are scaled to this many pixels square.
        patch: side of a patch in pixels.
        hidden: width of the tower.
        layers: depth.
        heads: attention heads.
        epochs: passes over the training pages.
        batch_size: pages compared with each other in one step.
        learning_rate: peak of AdamW's.
        temperature: of the contrastive loss.
        seed: of the weights and the order.
    """

    side: int = 384
    patch: int = 32
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    epochs: float = 4
    batch_size: int = 32
    learning_rate: float = 5e-4
    temperature: float = 0.07
    seed: int = 0


@contextmanager
def untrained_tower(recipe: TowerRecipe) -> Iterator[Path]:
    """A folder with a vision transformer of random weights and its image processor, gone after the block."""
    import torch
    from transformers import ViTConfig, ViTModel

    with tempfile.TemporaryDirectory(prefix="sightline-tower-") as name:
        folder = Path(name)
        config = ViTConfig(
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=4 * recipe.hidden,
            image_size=recipe.side,
            patch_size=recipe.patch,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            ViTModel(config).save_pretrained(folder)
        facts = {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": recipe.side, "width": recipe.side},
            # Pages are mostly white: centre their mean rather than that of photographs.
            "image_mean": [0.9, 0.9, 0.9],
            "image_std": [0.25, 0.25, 0.25],
            "resample": 2,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(facts))
        yield folder


def teach(
    encoder: Encoder,
    dataset: Dataset,
    recipe: TowerRecipe,
    *,
    output: Path,
    split: str = "train",
    console: Console | None = None,
) -> int:
    """Teaches the image tower on the pages of ``split`` that have a text layer; the rest is not touched.

    Args:
        encoder: the default model; its image route is trained in place.
        dataset: where the pages are.
        recipe: epochs, batch size, learning rate.
        output: folder for the trainer's files.
        split: documents to learn from.
        console: where it is told.

    Returns:
        The number of pages learnt from.
    """
    import datasets

    from sightline.losses.contrastive import InfoNCE
    from sightline.runs.train import train_told
    from sightline.training.arguments import TrainingArguments

    texts, images = dataset.corpus("text", split), dataset.corpus("image", split)
    pages = [page for page, text in texts.items() if text.strip()]
    rows = datasets.Dataset.from_dict(
        {
            "anchor": [{"text": " ".join(texts[page].split()[:OPENING])} for page in pages],
            "positive": [str(images[page]) for page in pages],
        }
    )
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_ratio=0.1,
        seed=recipe.seed,
        save_strategy="no",
        logging_steps=0.1,
        disable_tqdm=True,
        roles={"anchor": "document", "positive": "document"},
        freeze=["text"],
    )
    loss = InfoNCE(recipe.temperature, symmetric=True)
    train_told(encoder, loss, rows, arguments, console=console)
    return len(pages)
