"""The smallest Office files that LibreOffice opens, written by hand."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def _package(path: Path, main: str, kind: str, parts: dict[str, str]) -> Path:
    types = f"application/vnd.openxmlformats-officedocument.{kind}.main+xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "[Content_Types].xml",
            f'{_HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/{main}" ContentType="{types}"/></Types>',
        )
        file.writestr(
            "_rels/.rels",
            f'{_HEAD}<Relationships xmlns="{_RELATIONS}"><Relationship Id="r1" Type="{_OFFICE}/officeDocument"'
            f' Target="{main}"/></Relationships>',
        )
        for name, content in parts.items():
            file.writestr(name, _HEAD + content)
    return path


def write_docx(path: Path, paragraphs: Sequence[str]) -> Path:
    """A Word file; ``"\\f"`` as a paragraph starts a page."""
    body = "".join(
        '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'
        if text == "\f"
        else f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>"
        for text in paragraphs
    )
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    document = f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>'
    return _package(path, "word/document.xml", "wordprocessingml.document", {"word/document.xml": document})


def write_xlsx(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """An Excel file of one sheet."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{space}" xmlns:r="{_OFFICE}"><sheets>'
        '<sheet name="Costs" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="r1"'
        f' Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{space}"><sheetData>{cells}</sheetData></worksheet>',
    }
    return _package(path, "xl/workbook.xml", "spreadsheetml.sheet", parts)


def write_odp(path: Path, slides: Sequence[str]) -> Path:
    """A presentation of one line of text per slide."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{urn}:1.0"'
        for name, urn in (
            ("office", "office"),
            ("draw", "drawing"),
            ("text", "text"),
            ("svg", "svg-compatible"),
            ("manifest", "manifest"),
        )
    )
    pages = "".join(
        f'<draw:page draw:name="s{number}"><draw:frame svg:x="2cm" svg:y="2cm" svg:width="20cm"'
        f' svg:height="3cm"><draw:text-box><text:p>{escape(text)}</text:p></draw:text-box></draw:frame></draw:page>'
        for number, text in enumerate(slides)
    )
    kind = "application/vnd.oasis.opendocument.presentation"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", kind)
        file.writestr(
            "content.xml",
            f'{_HEAD}<office:document-content {spaces} office:version="1.2"><office:body><office:presentation>'
            f"{pages}</office:presentation></office:body></office:document-content>",
        )
        file.writestr(
            "META-INF/manifest.xml",
            f'{_HEAD}<manifest:manifest {spaces} manifest:version="1.2"><manifest:file-entry'
            f' manifest:full-path="/" manifest:media-type="{kind}"/><manifest:file-entry'
            ' manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>',
        )
    return path
