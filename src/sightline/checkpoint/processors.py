"""Loading a model's processor, also where torchvision is not installed.

Processors of models that take videos ask for torchvision through their video processor. Without it the parts are
loaded one by one: images through the PIL backend, video by torch alone where `sightline.inputs.torch_videos` can;
where it cannot, the settings are carried along untouched, so that a saved model still has them.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    ImageProcessingMixin,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from sightline.checkpoint.layout import read_facts
from sightline.errors import CheckpointError
from sightline.inputs.plain_torch import PlainTorch
from sightline.inputs.processor import part_of
from sightline.inputs.torch_videos import torch_video_processor
from sightline.inputs.video_settings import VIDEO_FILE, CarriedVideoSettings


def load_processor(folder: Path, model_type: str, **kwargs: Any) -> Any:
    """The processor in ``folder``: a ProcessorMixin, a tokenizer, an image processor or a feature extractor.

    Args:
        folder: where the processor's files lie.
        model_type: the model's type, to find the processor's class where the files do not name it.
        kwargs: passed to ``from_pretrained`` (min_pixels, max_pixels, model_max_length, backend, ...).

    Raises:
        CheckpointError: no processor can be loaded; says what is missing.
    """
    known = _processor_class(folder, model_type)
    bare = not is_torchvision_available()
    try:
        if bare and known is not None and "video_processor" in known.get_attributes():
            processor = _without_torchvision(folder, known, kwargs)
        elif bare and known is None and _is_video_processor(folder):
            processor = _part("video_processor", folder, kwargs)
            if isinstance(processor, CarriedVideoSettings):
                raise CheckpointError(
                    f"{folder}: its video processor needs torchvision; pip install torchvision"
                )
        elif known is not None and _only_hears(folder):
            # Speech encoders are published without the tokenizer that transformers' processor asks for.
            processor = AutoFeatureExtractor.from_pretrained(folder, **_for("feature_extractor", kwargs))
        else:
            processor = AutoProcessor.from_pretrained(folder, **kwargs)
        _check_vocabulary(processor, folder)
        _limit_pixels(processor, kwargs, folder)
        return processor
    except ImportError as error:
        raise CheckpointError(
            f"{folder}: its processor cannot be loaded: {' '.join(str(error).split())}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: no processor can be loaded from it: {error}") from error


def _check_vocabulary(processor: Any, folder: Path) -> None:
    """Refuses a tokenizer without words: transformers makes one out of nothing where the files are missing."""
    tokenizer = (
        processor if isinstance(processor, PreTrainedTokenizerBase) else part_of(processor, "tokenizer")
    )
    if tokenizer is not None and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise CheckpointError(
            f"{folder}: its tokenizer knows no words (tokenizer.json is missing, or the vocabulary file), so all "
            "texts would look alike; the download or the copy is incomplete"
        )


def _limit_pixels(processor: Any, kwargs: dict[str, Any], folder: Path) -> None:
    """Makes min_pixels and max_pixels hold; some releases of transformers take them and do nothing."""
    wanted = {"shortest_edge": kwargs.get("min_pixels"), "longest_edge": kwargs.get("max_pixels")}
    wanted = {edge: pixels for edge, pixels in wanted.items() if pixels is not None}
    if not wanted:
        return
    images: Any = (
        part_of(processor, "image_processor") if isinstance(processor, ProcessorMixin) else processor
    )
    sized = isinstance(images, ImageProcessingMixin)
    size = dict(images.size) if sized else {}
    if not {"shortest_edge", "longest_edge"} <= set(size):
        raise CheckpointError(
            f"{folder}: min_pixels and max_pixels do not apply to a {type(images or processor).__name__}, which sizes "
            f"images by {size or 'no setting'}; set `size` instead"
        )
    size |= wanted
    if size["shortest_edge"] > size["longest_edge"]:
        # Images would be enlarged past the one limit or shrunk below the other.
        hint = "" if len(wanted) == 2 else "; one of them is the checkpoint's, so give both"
        raise CheckpointError(
            f"{folder}: min_pixels {size['shortest_edge']} is more than max_pixels {size['longest_edge']}{hint}"
        )
    images.size = type(images.size)(**size)


def _only_hears(folder: Path) -> bool:
    """Whether a feature extractor is all there is."""
    facts = read_facts(folder / "preprocessor_config.json")
    words = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "vocab.txt", "processor_config.json")
    return "feature_extractor_type" in facts and not any((folder / name).is_file() for name in words)


def _is_video_processor(folder: Path) -> bool:
    """Whether a model of video alone was saved here."""
    others = ("tokenizer_config.json", "preprocessor_config.json")
    return (folder / VIDEO_FILE).is_file() and not any((folder / name).is_file() for name in others)


def _processor_class(folder: Path, model_type: str) -> type[ProcessorMixin] | None:
    """The processor class of transformers that the files name, or that goes with the model type."""
    import transformers

    files = ("processor_config.json", "preprocessor_config.json", VIDEO_FILE, "tokenizer_config.json")
    named = (read_facts(folder / file).get("processor_class") for file in files)
    name = next(filter(None, named), None) or PROCESSOR_MAPPING_NAMES.get(model_type)
    known = getattr(transformers, str(name), None) if name in PROCESSOR_MAPPING_NAMES.values() else None
    return known if isinstance(known, type) and issubclass(known, ProcessorMixin) else None


def _without_torchvision(folder: Path, known: type[ProcessorMixin], kwargs: dict[str, Any]) -> Any:
    facts, _ = known.get_processor_dict(str(folder), local_files_only=True)
    parts = {name: _part(name, folder, kwargs) for name in known.get_attributes()}
    takes = inspect.signature(known.__init__).parameters
    settings = {
        name: value for name, value in (facts | kwargs).items() if name in takes and name not in parts
    }
    if not settings.get("chat_template"):
        settings["chat_template"] = parts["tokenizer"].chat_template
    processor = known.__new__(known)
    # transformers checks the type of every part while it builds the processor; the stand-in is let through.
    vars(processor)["check_argument_for_proper_class"] = lambda name, part: _accept(processor, name, part)
    known.__init__(processor, **parts, **settings)
    del vars(processor)["check_argument_for_proper_class"]
    return processor


def _part(name: str, folder: Path, kwargs: dict[str, Any]) -> Any:
    """One part of a processor, by the name of its constructor's argument."""
    if name == "video_processor":
        settings = _video_settings(folder)
        images = read_facts(folder / "preprocessor_config.json").get("image_processor_type")
        found = torch_video_processor(settings, image_processor=images, **_for("image", kwargs))
        return found or CarriedVideoSettings(settings)
    if name == "tokenizer":
        return AutoTokenizer.from_pretrained(folder, **_for("tokenizer", kwargs))
    if name == "feature_extractor":
        return AutoFeatureExtractor.from_pretrained(folder, **_for("feature_extractor", kwargs))
    return AutoImageProcessor.from_pretrained(folder, **({"backend": "pil"} | _for("image", kwargs)))


def _video_settings(folder: Path) -> dict[str, Any]:
    """The video processor's settings, looked for where transformers does."""
    found = read_facts(folder / VIDEO_FILE) or read_facts(folder / "processor_config.json").get(
        "video_processor"
    )
    if found:
        return dict(found)
    images = read_facts(folder / "preprocessor_config.json")
    return {name: value for name, value in images.items() if name != "image_processor_type"}


def _accept(processor: ProcessorMixin, name: str, part: Any) -> type:
    if isinstance(part, (CarriedVideoSettings, PlainTorch)):
        return type(part)  # transformers cannot even name the class it wants
    return ProcessorMixin.check_argument_for_proper_class(processor, name, part)


_TOKENIZER_ARGUMENTS = frozenset({"model_max_length", "padding_side", "truncation_side", "use_fast"})


def _for(part: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments meant for the tokenizer, the feature extractor or the image processor."""
    shared = {"trust_remote_code", "revision", "token", "cache_dir", "local_files_only"}
    if part == "tokenizer":
        return {key: value for key, value in kwargs.items() if key in _TOKENIZER_ARGUMENTS | shared}
    if part == "feature_extractor":
        return {key: value for key, value in kwargs.items() if key in shared}
    return {
        key: value for key, value in kwargs.items() if key not in _TOKENIZER_ARGUMENTS | {"chat_template"}
    }
