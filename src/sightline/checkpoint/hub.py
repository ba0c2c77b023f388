"""From a name on the Hub, or a folder, to a folder."""

from __future__ import annotations

from pathlib import Path

from sightline.checkpoint.layout import finish_replacement
from sightline.errors import CheckpointError

# Weights in formats we do not read, and what training left behind.
LEFT_OUT = ["*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.tflite", "*.gguf", "checkpoint-*/*",
             "runs/*", "optimizer.pt", "coreml/*"]  # fmt: skip


def resolve(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of a checkpoint: the path given, or the Hub's snapshot (downloaded where needed).

    Raises:
        CheckpointError: neither a folder nor a repository that can be read.
    """
    path = Path(name_or_path).expanduser()
    finish_replacement(path)
    if path.is_dir():
        return path
    text = str(name_or_path)
    if path.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1:
        raise CheckpointError(f"{text}: no such folder")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx  # its connection errors are no OSError

    # Without a word from the Hub the cache decides, and what it lacks beside safetensors was left out before.
    left_out, unreachable = ["*.bin", "*.pt"], None
    if not local_files_only:
        try:
            # One request without retries; its answer also says what is wrong with the name.
            siblings = HfApi(token=token).model_info(text, revision=revision, timeout=10).siblings or []
            left_out = _duplicate_weights([file.rfilename for file in siblings])
        except (OSError, httpx.HTTPError, HfHubHTTPError, HFValidationError) as error:
            unreachable = error
    try:
        return Path(
            snapshot_download(
                text,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only or unreachable is not None,
                ignore_patterns=[*LEFT_OUT, *left_out],
            )
        )
    except LocalEntryNotFoundError as error:
        if isinstance(unreachable, (HfHubHTTPError, HFValidationError)):
            raise CheckpointError(_refused(text, unreachable)) from error
        raise CheckpointError(
            f"{text}: no such folder, and not in the Hub's cache (the Hub cannot be reached or is switched off)"
        ) from error
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        raise CheckpointError(_refused(text, error)) from error


def _refused(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{name}: cannot be loaded from the Hub: {first}"


def _duplicate_weights(files: list[str]) -> list[str]:
    """Pickled weights that stand beside safetensors ones; a Dense part may still come as ``.bin`` alone."""
    folders = {name.rpartition("/")[0] for name in files if name.endswith(".safetensors")}
    return [name for name in files if name.endswith((".bin", ".pt")) and name.rpartition("/")[0] in folders]
