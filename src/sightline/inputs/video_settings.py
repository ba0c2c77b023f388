"""What stands in for a video processor that cannot be loaded: its settings, kept so that they are saved again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VIDEO_FILE = "video_preprocessor_config.json"


class CarriedVideoSettings(dict[str, Any]):
    """The settings of a video processor that needs torchvision; processes nothing.

    A dict, because transformers writes the parts of a processor into one JSON file. A processor that holds
    one does not take video (see `modules.calls.processor_modalities`).
    """

    # Read by transformers when the processor is called and saved; num_frames and fps by SmolVLM's.
    model_input_names: tuple[str, ...] = ()
    _auto_class = None

    @property
    def num_frames(self) -> int | None:
        return self.get("num_frames")

    @property
    def fps(self) -> float | None:
        return self.get("fps")

    def to_dict(self) -> dict[str, Any]:
        """The settings as they were read."""
        return dict(self)

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Writes the settings back under the name they were read from."""
        (Path(folder) / VIDEO_FILE).write_text(json.dumps(self, indent=2) + "\n")
