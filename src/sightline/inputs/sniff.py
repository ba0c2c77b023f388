"""Which modality a file name or the first bytes of a file stand for.

Names are used for paths and URLs, content for bytes. Neither decodes anything.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from sightline.types import Modality

HEAD_BYTES = 512  # how much of a file `modality_of_bytes` wants to see

EXTENSIONS: dict[Modality, tuple[str, ...]] = {
    "image": (
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".gif",
            ".bmp",
            ".dib",
            ".tif",
            ".tiff",
            ".webp",
            ".avif",
        ),
        *(".heic", ".heif", ".jp2", ".j2k", ".ico", ".tga", ".ppm", ".pgm", ".pbm", ".pnm"),
    ),
    "audio": (".mp3", ".wav", ".ogg", ".oga", ".flac", ".aac", ".m4a", ".opus", ".aif", ".aiff", ".wma"),
    "video": (".mp4", ".m4v", ".avi", ".mov", ".wmv", ".flv", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp"),
}
_MODALITY_BY_EXTENSION = {extension: kind for kind, names in EXTENSIONS.items() for extension in names}

# (offset, bytes, modality); containers that hold several kinds are told apart in `modality_of_bytes`.
_SIGNATURES: tuple[tuple[int, bytes, Modality], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"\xff\xd8\xff", "image"),  # JPEG
    (0, b"GIF87a", "image"),
    (0, b"GIF89a", "image"),
    (0, b"II*\x00", "image"),  # TIFF, little endian
    (0, b"MM\x00*", "image"),  # TIFF, big endian
    (0, b"II+\x00", "image"),  # BigTIFF
    (0, b"MM\x00+", "image"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image"),  # JPEG 2000
    (0, b"\xff\x4f\xff\x51", "image"),  # JPEG 2000 codestream
    (0, b"\x00\x00\x01\x00", "image"),  # ICO
    (0, b"8BPS", "image"),  # PSD
    (0, b"qoif", "image"),
    (0, b"DDS ", "image"),
    (0, b"fLaC", "audio"),
    (0, b"ID3", "audio"),
    (0, b"#!AMR", "audio"),
    (0, b"caff", "audio"),
    (0, b".snd", "audio"),
    (0, b"\x1aE\xdf\xa3", "video"),  # Matroska, WebM
    (0, b"FLV\x01", "video"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "video"),  # ASF: WMV, WMA
    (0, b"\x00\x00\x01\xba", "video"),  # MPEG program stream
)
_RIFF: dict[bytes, Modality] = {b"WEBP": "image", b"WAVE": "audio", b"AVI ": "video"}
_ISO_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_ISO_AUDIO_BRANDS = (b"M4A ", b"M4B ")


def modality_of_name(name: str) -> Modality | None:
    """Modality by the extension of a path or of a URL's path; None for an unknown extension.

    A URL that cannot be parsed has no modality.
    """
    if is_url(name):
        try:
            name = urlsplit(name).path
        except ValueError:
            return None
    return _MODALITY_BY_EXTENSION.get(os.path.splitext(name)[1].lower())


def modality_of_bytes(head: bytes) -> Modality | None:
    """Modality by the signature in the first `HEAD_BYTES` of a file; None if no signature matches.

    An MP4, WebM or ASF container counts as video, because its first bytes do not say whether it
    holds only sound; `{"audio": ...}` states it.
    """
    for offset, signature, modality in _SIGNATURES:
        if head.startswith(signature, offset):
            return modality
    if head[:4] in (b"RIFF", b"RF64") and len(head) >= 12:
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio"
    if head[:4] == b"OggS":
        return "video" if b"theora" in head else "audio"
    if head[4:8] == b"ftyp":
        if head[8:12] in _ISO_IMAGE_BRANDS:
            return "image"
        return "audio" if head[8:12] in _ISO_AUDIO_BRANDS else "video"
    if head[:2] == b"BM" and head[14:18] in (
        b"\x0c\0\0\0",
        b"(\0\0\0",
        b"4\0\0\0",
        b"8\0\0\0",
        b"l\0\0\0",
        b"|\0\0\0",
    ):
        return "image"  # BMP: "BM" alone could be prose, so the size of its second header decides
    if len(head) > 3 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n":
        return "image"  # PNM
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # MPEG audio or ADTS frame, unless a field has a reserved value. Layer I is left out: nobody uses
        # it, and UTF-16 text begins with the same bytes.
        reserved = head[1] & 0x18 == 0x08 or head[1] & 0x06 == 0x06 or head[2] & 0xF0 == 0xF0
        return None if reserved else "audio"
    if len(head) > 188 and head[0] == 0x47 and head[188] == 0x47:
        return "video"  # MPEG transport stream
    return None


def is_url(text: str) -> bool:
    """Whether ``text`` is an http(s) URL: the scheme, and no whitespace."""
    return text[:8].lower().startswith(("http://", "https://")) and not any(c.isspace() for c in text)
