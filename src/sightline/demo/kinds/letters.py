"""Bundles of scanned letters: typed, signed, put on a worn scanner; images without a text layer."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image
from reportlab.lib.colors import HexColor
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from sightline.demo import layout, penmanship
from sightline.demo import paperwork_words as words
from sightline.demo.facts import About, Ledger, Section
from sightline.demo.house import DESKS
from sightline.demo.marks import draw_mark
from sightline.demo.terms import Term
from sightline.demo.world import Company, World

_SCALE = 110 / 72  # 110 dots per inch, as an office scanner saves for the archive


@dataclass(frozen=True)
class Letter:
    """One letter before it is typed."""

    sender: str
    trade: str
    street: str
    town: str
    date: str
    subject: str
    paragraphs: tuple[str, ...]
    receiver: Company
    face: str


def build(world: World, ledger: Ledger, path: Path, document: str, company: Company) -> tuple[str, int]:
    """Write a bundle of letters to ``company``; its title and number of pages."""
    rng = world.rng
    year = rng.randint(1988, 2009)
    title = f"Letters to {company.full}, {year}"
    canvas = Canvas(str(path), pagesize=layout.A4, invariant=1, pageCompression=1)
    canvas.setTitle(title)
    count, desks = rng.randint(6, 8), world.some(DESKS, 3)
    for page, (matter, said, wish, trade) in enumerate(world.fresh("matter", words.MATTERS, count)):
        number = rng.randint(3, 28)
        sender, desk = world.person(), rng.choice(desks)
        town = rng.choice(company.sites).city
        letter = Letter(
            sender, trade or sender, f"{rng.randint(1, 90)} {rng.choice(words.STREETS)}", town,
            world.day(year), matter.written,
            (f"{rng.choice(_OPENINGS)} {said.format(n=number)} {rng.choice(_MIDDLES)}",
             f"{rng.choice(_TURNS)} {wish.written.format(n=number)}. {' '.join(rng.sample(_DETAILS, 2))}",
             f"Your {desk.written} knows the case. {rng.choice(_CLOSINGS)}"),
            company, rng.choice(("Courier", "Courier", "Times-Roman", "Helvetica")),
        )  # fmt: skip
        _place(canvas, _scan(_type(letter, rng.randrange(10**6)), rng.randrange(10**6)))
        section = Section()
        _ask(section, world, company, (matter, wish), sender, (desk, str(number)))
        ledger.enter(document, page, section)
    canvas.save()
    return title, count


def _ask(
    section: Section,
    world: World,
    company: Company,
    case: tuple[Term, Term],
    sender: str,
    details: tuple[Term, str],
) -> None:
    rng = world.rng
    matter, wish = case
    desk, number = details
    wish_written = wish.written.format(n=number)
    about: About = {
        "company": company.name, "matter": matter, "wish": wish, "person": sender, "desk": desk, "what": "letter",
    }  # fmt: skip
    sides = (
        (sender, ("Who wrote to {company} about {matter}?", "Correspondent of {company}: {matter}")),
        (
            wish_written,
            (
                "What did the sender of the letter on {matter} ask of {company}?",
                "{matter}: request made to {company}",
            ),
        ),
        (
            matter.written,
            ("Old letter to {company} concerning {matter}", "Correspondence of {company}, {matter}"),
        ),
        (wish_written, ("Which letter asks {company} for {wish}?", "Somebody wanted {wish} from {company}")),
        (desk.written, ("Which department of {company} is familiar with {matter}?",)),
    )
    for evidence, templates in rng.sample(sides, 2):
        section.tell(rng, about, evidence=evidence, templates=templates, fixed=("what",))
    section.tell(
        rng,
        about,
        evidence=desk.written,
        kind="topic",
        fixed=("what",),
        templates=(
            "Letters to {company} known to {desk}",
            "Which old correspondence of {company} is a case for {desk}?",
        ),
    )


def _type(letter: Letter, seed: int) -> bytes:
    """The letter as a one-page PDF with text, before scanning."""
    rng = random.Random(seed)
    target = io.BytesIO()
    width, height = layout.A4
    canvas = Canvas(target, pagesize=layout.A4, invariant=1)
    dark = HexColor("#222222")
    faces = (letter.face, letter.face, letter.face)
    look = layout.Theme(dark, dark, faces, 12.5 if letter.face == "Times-Roman" else 11.5)
    canvas.setFillColor(dark)
    canvas.setFont("Times-Bold" if letter.face != "Helvetica" else "Helvetica-Bold", 16)
    canvas.drawString(74, height - 84, letter.trade)
    canvas.setFont("Times-Roman", 10)
    canvas.drawString(74, height - 100, f"{letter.street}, {letter.town}")
    canvas.setLineWidth(0.8)
    canvas.line(74, height - 108, width - 74, height - 108)
    canvas.setFont(letter.face, 11.5)
    for line, words_ in enumerate((letter.receiver.full, "Post room", letter.town)):
        canvas.drawString(74, height - 150 - 15 * line, words_)
    canvas.drawRightString(width - 74, height - 222, letter.date)
    canvas.setFont(layout.MONO[1] if letter.face == "Courier" else "Times-Bold", 12)
    canvas.drawString(74, height - 258, letter.subject)
    y = height - 284
    for words_ in ("Dear Sir or Madam,", *letter.paragraphs, "Yours faithfully,"):
        block = layout.text(look, words_, leading=19, spaceAfter=0)
        used = block.wrap(width - 148, y)[1]
        block.drawOn(canvas, 74, y - used)
        y -= used + 15
    penmanship.signature(canvas, letter.sender, 78, y - 34, seed)
    canvas.setFillColor(dark)
    canvas.setFont(letter.face, 11.5)
    canvas.drawString(74, y - 62, letter.sender)
    # The stamp of the post room, in the corner and never straight.
    canvas.saveState()
    canvas.translate(width - 190, height - 190)
    canvas.rotate(rng.uniform(-9, 9))
    grey = HexColor("#777777")
    canvas.setStrokeColor(grey)
    canvas.setLineWidth(1.6)
    canvas.roundRect(0, 0, 112, 44, 5, stroke=1, fill=0)
    canvas.setFillColor(grey)
    canvas.setFont("Helvetica-Bold", 11)
    canvas.drawString(44, 24, "RECEIVED")
    canvas.setFont("Helvetica", 8)
    canvas.drawString(44, 11, letter.receiver.short)
    draw_mark(canvas, letter.receiver, 8, 8, 28, mono=grey)
    canvas.restoreState()
    canvas.showPage()
    canvas.save()
    return target.getvalue()


def _scan(pdf: bytes, seed: int) -> bytes:
    """The page as a scanner would see it: grey, noisy, slightly askew, unevenly lit; a JPEG."""
    rng = np.random.default_rng(seed)
    document = pypdfium2.PdfDocument(pdf)
    image = document[0].render(scale=_SCALE, grayscale=True).to_pil().convert("L")
    document.close()
    image = image.rotate(float(rng.uniform(-1.3, 1.3)), resample=Image.Resampling.BILINEAR, fillcolor=255)
    ink = np.asarray(image, dtype=np.float32)
    high, wide = ink.shape
    light = np.linspace(rng.uniform(0.9, 1.0), rng.uniform(0.86, 0.98), wide, dtype=np.float32)[None, :]
    fade = rng.uniform(0.72, 0.95)
    paper = (245 - (255 - ink) * fade) * light
    paper += rng.standard_normal((high, wide), dtype=np.float32) * rng.uniform(3, 8)
    for _ in range(int(rng.integers(15, 60))):  # specks of dust
        y, x = int(rng.integers(0, high - 3)), int(rng.integers(0, wide - 3))
        paper[y : y + int(rng.integers(1, 3)), x : x + int(rng.integers(1, 3))] = rng.uniform(40, 120)
    edge = int(rng.integers(2, 9))  # the shadow at the lid's edge
    paper[:, :edge] *= 0.55
    target = io.BytesIO()
    Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8)).save(target, "JPEG", quality=52)
    return target.getvalue()


def _place(canvas: Canvas, jpeg: bytes) -> None:
    width, height = layout.A4
    canvas.drawImage(ImageReader(io.BytesIO(jpeg)), 0, 0, width, height)
    canvas.showPage()


_OPENINGS = (
    "I write to you because nobody answered the telephone.",
    "You may remember my call in the spring.",
    "It is not easy for me to find the right words.",
    "Our connection is an old one, so let me be brief.",
    "A neighbour advised me to turn to you.",
    "Please forgive a letter from a stranger.",
)
_MIDDLES = (
    "I have thought about it for some time, and so have the others here.",
    "You will understand that this cannot simply be left as it is.",
    "Nobody blames your people, who have always been correct with us.",
    "I may add that we have known your firm since my father's days.",
    "If you have heard of it from elsewhere, please take this as the proper account.",
    "It would have been better to say so earlier, but there was never a good moment.",
)
_TURNS = (
    "What we ask for is", "It would settle the matter for us to have", "May we therefore hope for",
    "We see no other way than", "The best solution, it seems to us, is", "I should be grateful for",
)  # fmt: skip
_DETAILS = (
    "My husband agrees with me.",
    "The committee voted on this last Tuesday.",
    "I am at home every evening after seven.",
    "Photographs are enclosed.",
    "We have told nobody else so far.",
    "A copy of this letter goes to our lawyer.",
    "There is no hurry, but it should not be forgotten.",
    "My predecessor left a note to the same effect.",
    "We would of course bear our part of the expense.",
    "You can reach me through the post office.",
)
_CLOSINGS = (
    "I look forward to your reply.", "With good wishes to everyone at the works.", "An early answer would oblige us.",
    "We remain, as ever, your neighbours.", "Thank you for your time.",
)  # fmt: skip
