"""From what a client sends to items. A string is text and nothing else: no file, no URL is opened for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sightline.errors import InputError
from sightline.inputs.hashing import item_key
from sightline.inputs.images import image_size
from sightline.inputs.references import data_uri_modality, decode_data_uri
from sightline.inputs.sniff import is_url
from sightline.serving.errors import ApiError
from sightline.serving.settings import Settings
from sightline.types import Item, Part

# Halves of a UTF-16 pair without the other half: JSON carries them, no tokenizer takes them.
_BROKEN = re.compile("[\ud800-\udfff]")


@dataclass
class Reader:
    """Reads the inputs of one request within the service's limits.

    Args:
        settings: the limits.
        source: how inputs are called in messages: ``input``.
    """

    settings: Settings
    source: str = "input"
    images: int = 0

    def text(self, text: str, param: str) -> Part:
        """A text.

        Raises:
            ApiError: 413, it is too long.
        """
        if len(text) > self.settings.max_characters:
            raise ApiError(
                413, f"a text is longer than {self.settings.max_characters:,} characters", param=param
            )
        return Part("text", _BROKEN.sub("\ufffd", text))

    def image(self, uri: str, param: str) -> Part:
        """An image given as a data URI.

        Raises:
            ApiError: 400, it is no data URI, or no image; 413, there are too many of them, or too many pixels.
        """
        if is_url(uri):
            raise ApiError(
                400, "this service opens no URLs; send the image itself, as a data URI", param=param
            )
        if data_uri_modality(uri) != "image":
            raise ApiError(
                400,
                "an image is a data URI such as data:image/png;base64,... or an uploaded file",
                param=param,
            )
        try:
            content = decode_data_uri(uri, source="the image", max_bytes=self.settings.max_body_bytes)
        except InputError as error:
            raise ApiError(400, error.cause_text, param=param) from error
        return self.upload(content, param)

    def upload(self, content: bytes, param: str) -> Part:
        """An image given as its file's bytes.

        Raises:
            ApiError: as of `image`.
        """
        self.images += 1
        if self.images > self.settings.max_images:
            raise ApiError(413, f"more than {self.settings.max_images} images in one request", param=param)
        try:
            width, height = image_size(content, source="the image")
        except InputError as error:
            raise ApiError(400, f"not an image that can be read: {error.cause_text}", param=param) from error
        if width * height > self.settings.max_pixels:
            raise ApiError(
                413,
                f"the image has {width:,} x {height:,} pixels, more than {self.settings.max_pixels:,}; "
                "make it smaller",
                param=param,
            )
        return Part("image", content)

    def item(self, parts: Sequence[Part], number: int, *, is_message: bool = False) -> Item:
        """The item of an input's parts, in their order."""
        kept = tuple(parts)
        return Item(kept, item_key(kept, is_message=is_message), f"{self.source} {number}", is_message)


@contextmanager
def told_to_client(param: str) -> Iterator[None]:
    """What is wrong with an input, found when the model's thread opens it, is the client's affair.

    Raises:
        ApiError: 400, in place of an `InputError`.
    """
    try:
        yield
    except InputError as error:
        raise ApiError(400, str(error), param=param) from error


def check_count(count: int, settings: Settings, param: str) -> None:
    """Refuses requests of more inputs than the service takes, and of none.

    Raises:
        ApiError: 400 without any, 413 with too many.
    """
    if count < 1:
        raise ApiError(400, f"{param} is empty", param=param)
    if count > settings.max_inputs:
        raise ApiError(
            413,
            f"{count:,} inputs in one request; this service takes {settings.max_inputs:,}, send several requests",
            param=param,
        )
