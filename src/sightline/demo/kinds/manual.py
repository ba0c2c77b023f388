"""Technical manuals: one per product, with data, drawings, procedures, faults and spare parts."""

from __future__ import annotations

from pathlib import Path

from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas

from sightline.demo import layout, schematics
from sightline.demo.facts import Ledger
from sightline.demo.kinds import manual_parts as parts
from sightline.demo.machine_words import TASKS
from sightline.demo.marks import draw_mark
from sightline.demo.terms import sentence
from sightline.demo.world import Product, World


def build(world: World, ledger: Ledger, path: Path, document: str, product: Product) -> tuple[str, int]:
    """Write the manual of ``product``; its title and number of pages."""
    rng = world.rng
    company = product.company
    look = layout.theme(company.colour, company.accent, layout.SANS, 10.8)
    kind = rng.choice(("Operating manual", "Operating and service manual", "Handbook for owners and fitters"))
    title = f"{product.name} {product.machine.written}: {kind}"
    width, height = rng.choice((layout.A4, layout.LETTER))
    margin, top = 66.0, 68.0
    body = width - 2 * margin
    number = f"{rng.randint(10, 99)}-{rng.randint(1000, 9999)}-{rng.choice('ABCDE')}"

    def furniture(canvas: Canvas, page: int) -> None:
        canvas.setStrokeColor(look.primary)
        canvas.setLineWidth(1.2)
        canvas.line(margin, height - 44, width - margin, height - 44)
        canvas.setFillColor(look.primary)
        canvas.setFont("Helvetica-Bold", 9)
        canvas.drawString(margin, height - 38, product.name)
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(layout.GREY)
        canvas.drawRightString(width - margin, height - 38, company.full)
        canvas.drawString(margin, 32, f"Document {number}")
        canvas.drawRightString(width - margin, 32, str(page + 1))

    flow = layout.Flow(
        path, document, ledger, size=(width, height), furniture=furniture, title=title,
        columns=[(margin, 60, body, height - 60 - top)], sections_per_page=3,
    )  # fmt: skip
    flow.cover(lambda canvas: _cover(canvas, look, product, kind, (width, height), number))
    brief = parts.Brief(world, look, product, body)
    steps = [parts.procedure(brief, task) for task in world.fresh("manual tasks", TASKS, 5)]
    rest = [
        parts.drawing(brief), parts.dismantling(brief), parts.torques(brief), parts.service(brief), parts.faults(brief),
        parts.messages(brief), parts.lamps(brief), parts.spares(brief), *steps,
    ]  # fmt: skip
    rng.shuffle(rest)
    flow.add_all([parts.hazards(brief), parts.data(brief), *rest])
    return sentence(title), flow.close()


def _cover(
    canvas: Canvas, look: layout.Theme, product: Product, kind: str, size: tuple[float, float], number: str
) -> None:
    width, height = size
    canvas.setFillColor(look.tint(0.12))
    canvas.rect(0, height * 0.3, width, height * 0.42, stroke=0, fill=1)
    picture = schematics.outline(
        look, width - 160, height * 0.36, product.shape, 0, parts.hash_of(product.name)
    )
    picture.canv = canvas
    canvas.saveState()
    canvas.translate(80, height * 0.33)
    picture.paint(canvas, width - 160, height * 0.36)
    canvas.restoreState()
    canvas.setFillColor(look.primary)
    canvas.setFont("Helvetica-Bold", 40)
    canvas.drawString(60, height - 120, product.name)
    canvas.setFont("Helvetica", 18)
    canvas.drawString(60, height - 150, sentence(product.machine.written))
    canvas.setFont("Helvetica-Bold", 14)
    canvas.drawString(60, height * 0.3 - 40, kind)
    canvas.setFillColor(HexColor("#444444"))
    canvas.setFont("Helvetica", 10)
    canvas.drawString(60, height * 0.3 - 60, f"Document {number}. Translation of the original instructions")
    draw_mark(canvas, product.company, 60, 56, 40)
    canvas.drawString(112, 72, product.company.full)
