# ruff: noqa: E501 (one vocabulary entry per line reads best)
"""Vocabulary of research reports: studies of the group laboratory, and what any study has."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.demo.terms import Term, term, terms


@dataclass(frozen=True)
class Study:
    """One investigation.

    Attributes:
        subject: what was studied; identifies the report.
        variants: what was compared, from the reference to the best.
        measured: the property, lower is better when ``falling``.
        unit, low, high: unit and range of the property.
        along: what the property is plotted against, and its tick labels.
        mechanisms: explanations found.
        setting: why anyone cares, one or two sentences.
    """

    subject: Term
    variants: tuple[Term, ...]
    measured: Term
    unit: str
    low: float
    high: float
    along: str
    ticks: tuple[str, ...]
    mechanisms: tuple[Term, ...]
    setting: str


def _study(
    subject: str, variants: str, measured: str, numbers: str, along: str, mechanisms: str, setting: str
) -> Study:
    unit, low, high = (piece.strip() for piece in numbers.split(";"))
    axis, *ticks = along.split(";")
    return Study(term(subject), terms(variants), term(measured), unit, float(low), float(high), axis.strip(),
                 tuple(tick.strip() for tick in ticks), terms(mechanisms), setting)  # fmt: skip


STUDIES: tuple[Study, ...] = (
    _study("ageing of bonded lap joints in sea air | the durability of glued overlaps near the ocean | adhesive connections exposed to salty air",
           "degreased only | no preparation beyond removing oil\ngrit-blasted | sandblasted surface\nanodised | electrolytically treated metal",
           "residual shear strength | bond strength left", "MPa; 6; 31", "weeks of salt spray; 0; 4; 8; 16; 32",
           "chloride creeping along the oxide layer | salt moving below the film\nplasticiser leaving the adhesive | softener escaping from the glue",
           "Winch housings are glued rather than welded since the change to aluminium. Ship owners ask how long the joints hold on deck."),
    _study("creep of regranulate housings | slow sagging of recycled plastic casings | gradual deformation of covers made from reused plastic",
           "virgin resin | brand-new plastic\none third regranulate | blend with some recycled material\nglass-filled regranulate | recycled plastic with fibres",
           "strain | stretching under load", "%; 0.3; 4.2", "hours under load; 1; 10; 100; 1000; 5000",
           "short chains from the second melting | molecules damaged by remelting\npoor wetting of the fibres | glass not gripped by the polymer",
           "Housings with bottle flakes are cheaper and greener, but screws lose their grip when the plastic gives way."),
    _study("lime on plate exchangers | chalk deposits in house heaters | hard-water scale in heating units",
           "plain steel | untreated metal sheet\nelectropolished | mirror-smooth finish\nsol-gel film | thin glass-like coating",
           "thickness of the deposit | amount of scale", "µm; 12; 240", "days in hard water; 0; 10; 20; 40; 60",
           "crystals that start at scratches | nuclei forming in grooves\na boundary layer that is too warm | overheated water at the wall",
           "Hard water costs owners of heat pumps a tenth of their output within a few winters."),
    _study("hum of oven blowers | loudness of bakery fans | ventilator noise in bread ovens",
           "straight blades | flat vanes\nskewed blades | slanted vanes\nserrated blades | vanes with a toothed edge like an owl's wing",
           "sound power | acoustic emission", "dB; 48; 79", "turns per minute; 600; 900; 1200; 1500; 1800",
           "vortices at the blade tip | swirling air at the outer edge\nresonance of the sheet duct | the metal channel vibrating along",
           "Bakers start at two in the morning, below the flats of their neighbours. The law allows forty decibels at the window."),
    _study("line cameras on shaking frames | detection of flaws while the equipment vibrates | optical checking on trembling machines",
           "rolling readout | sensor read row by row\nglobal readout | sensor read all at once\nglobal readout with strobe | one-shot sensor plus flash",
           "missed defects | overlooked flaws", "%; 0.4; 18", "vibration in mm/s; 1; 2; 4; 8; 12",
           "smear during exposure | blur while the picture is taken\nlight that is out of step | lamps flickering against the sensor",
           "Inspection heads move closer to presses and stamps, where nothing ever stands still."),
    _study("wear of door rollers in Nordic winters | abrasion of train door wheels in the cold | how railway door bearings suffer from frost",
           "cast polyamide | standard nylon wheel\npolyurethane tyre | wheel with a soft tread\nsintered bronze bush | wheel with a porous metal bearing",
           "loss of diameter | how much the wheels shrink", "mm; 0.1; 2.9", "thousand door cycles; 50; 100; 200; 400; 800",
           "ice ground between roller and rail | frozen particles acting like sandpaper\nhardening of the tread below minus twenty | rubber going stiff in frost",
           "A commuter train opens its doors four hundred times a day, and grit from the platform gets into the rails."),
    _study("germs on bed rails after wiping | hygiene of hospital handles | disinfection of grips on patient beds",
           "smooth powder coat | ordinary painted surface\ncopper-filled lacquer | varnish with metal particles\nhydrophilic film | water-loving layer",
           "colony count | number of bacteria", "per cm2; 2; 310", "hours after wiping; 0; 2; 6; 12; 24",
           "biofilm in scratches | slime sheltering in grooves\nwipes that dry too early | cloths losing their moisture",
           "Nurses touch a bed rail ninety times a shift. Cleaning once a day may not be enough."),
    _study("moisture in laminated beams | dampness inside timber girders | wet wood in load-bearing structures",
           "spruce, uncoated | bare softwood\nspruce with wax oil | softwood with a rubbed-in finish\nlarch, end grain sealed | durable wood with closed ends",
           "moisture content | dampness of the wood", "%; 9; 27", "months outdoors; 0; 3; 6; 12; 24",
           "water drawn in along the end grain | soaking through the cut faces\nglue lines that stop drying | adhesive layers acting as a barrier",
           "Architects leave beams in view, even outside. Above twenty per cent fungi begin to grow."),
    _study("labels on cold bottles | stickers on chilled glass | gluing paper to refrigerated containers",
           "casein glue | adhesive made from milk\nacrylic emulsion | water-based synthetic adhesive\nhot melt in dots | molten spots of adhesive",
           "peel force | how hard the label is to remove", "N per 25 mm; 0.6; 9.4", "bottle temperature in °C; 2; 6; 10; 14; 18",
           "a film of dew under the paper | condensation beneath the label\nglue that sets before it spreads | adhesive freezing too soon",
           "Breweries fill at four degrees. What sticks in the laboratory slides off on the line in July."),
    _study("water trees in subsea insulation | moisture damage in undersea wires | ageing of ocean power lines",
           "plain polyethylene | unmodified plastic sheath\ntree-retardant blend | compound that resists moisture channels\nlead-sheathed | protected by a heavy metal tube",
           "breakdown voltage | electrical strength", "kV per mm; 11; 58", "months under water; 0; 6; 12; 24; 36",
           "voids left by fast cooling | bubbles from rapid solidification\nsalts from the conductor screen | ions moving out of the inner layer",
           "A cable to an island lies for forty years where nobody sees it. Repairs need a ship and calm weather."),
    _study("flour in filter cloth | clogging of bag fabrics by fine dust | mill dust blocking textiles",
           "needle felt | punched fleece\nmembrane laminate | cloth with a thin skin\nsinged felt | fleece with burnt-off fibres",
           "pressure drop | resistance to the air", "Pa; 90; 1900", "hours of operation; 1; 50; 200; 500; 1000",
           "fibres that trap starch | hairs holding on to the powder\npulses that come too late | cleaning bursts badly timed",
           "Mills run their filters around the clock; each hundred pascals costs power."),
    _study("drift of centrifuge locks | loosening of spinner fastenings | closures of fast-turning lab devices wearing out",
           "bayonet lock | twist-and-click closure\nthree-claw lock | gripping jaws\nmagnetic lock | closure held by magnets",
           "play of the rotor | looseness of the spinning part", "µm; 3; 96", "thousand runs; 1; 5; 10; 20; 40",
           "fretting at the wedge | tiny rubbing movements\na spring that settles | coil losing its force",
           "Users change rotors several times a day. A lock with play is heard before it is felt."),
)  # fmt: skip

INSTRUMENTS = terms("""
a climate cabinet with sea fog nozzle | a weather chamber with salt mist
a laser vibrometer | optical measuring of shaking
a servo-hydraulic frame | an oil-driven pulling machine
a scanning electron microscope | imaging with an electron beam
an X-ray tomograph | three-dimensional radiography
a lock-in thermograph | heat pictures in step with the load
a white-light profilometer | optical roughness measurement
an infrared spectrometer | chemical fingerprint by heat light
an acoustic camera | a microphone array that locates sound
a coordinate measuring table | a three-axis touch probe
""")

FIELDS = terms("""
a ferry on the Oresund | a passenger ship between Denmark and Sweden
a bakery in Bologna | an Italian bread shop
a clinic in Tartu | an Estonian hospital
a water works near Seville | a Spanish utility
a brewery in Plzen | a Czech beer maker
a tram depot in Oslo | a Norwegian streetcar shed
a fish hall in Vigo | a Galician seafood market
a wind park off Esbjerg | turbines in the sea near Denmark
a paper mill in Tampere | a Finnish pulp factory
a school kitchen in Lille | a French canteen for pupils
""")

LIMITS = terms("""
all specimens came from one batch | samples of a single production lot
no test ran longer than a season | trials that were rather short
the operators knew which variant they handled | testers who were not blind
only new parts were used | nothing worn or aged was included
temperatures below minus thirty were not reached | deep frost missing from the trial
the number of repeats is small | few repetitions
the water was always the same | just one kind of water
field data come from one country only | real-life numbers from a single nation
""")

FUNDERS = terms("""
the Wenderholm Foundation | a charitable trust
the Ministry of Transport of Estonia | a Baltic government office
the regional development fund of Galicia | Spanish local subsidies
the Association of Master Bakers | a craftsmen's guild
the insurers' prevention fund | money from insurance companies
the employees' innovation pool | savings of the staff
a loan of the Nordic Investment Bank | a Scandinavian lender
the port authority of Rotterdam | a Dutch harbour
""")

NEXT = terms("""
a field trial with forty customers | testing at clients' sites
a model that predicts the end of life | forecasting when it will fail
tests with recycled feedstock | trying secondary raw material
a cheaper process for small series | lower cost at low volume
a round robin with two universities | comparison between several labs
measurements at night | trials in darkness
a standard for the whole group | a common rule for all companies
a version without fluorine | avoiding a problematic halogen
""")

ADVICE = terms("""
change the drawing note at once | alter the technical plans without delay
wait for the field trial before deciding | hold off until real use has been observed
use the costly variant only at the coast | reserve the expensive option for seaside customers
train fitters before changing the supplier | teach mechanics prior to switching vendors
check incoming goods by sampling | inspect some of what is delivered
shorten the interval to two watches | service it more often
offer it as an option at extra price | sell it as an add-on
drop the reference variant next year | phase out the old version
""")

REMARKS = (
    "Earlier work in the group looked at new parts only and stopped where the interesting part begins.",
    "The literature offers many values, most of them from tests that are far shorter than real use.",
    "We follow the reporting rules of the group laboratory; raw data are kept for ten years.",
    "Readers in a hurry may go straight to the recommendations.",
    "Two visiting students carried out the first series, which is not included here.",
    "Differences below the repeatability are not discussed.",
    "A statistician outside the project checked the evaluation.",
    "All values are medians unless stated otherwise.",
    "Where specimens broke early, the record was kept and marked.",
    "We thank the fitters who sent in worn parts with careful notes.",
    "The order of the tests was drawn by lot to keep slow changes of the room from posing as effects.",
    "Before each series the apparatus was checked against a reference piece.",
    "Outliers were kept unless a cause was known.",
    "Photographs of all surfaces are available from the authors.",
    "The effect is larger than we expected, and we repeated the series before believing it.",
    "Variation between specimens grows with time, as it does in most tests of this sort.",
    "Nothing in the data suggests a threshold.",
    "The procedure was agreed with two of the companies before the start.",
    "Numbers in brackets refer to the list at the end.",
    "A trial with half the load gave the same order.",
    "Handling marks were removed with a soft brush before weighing.",
    "We left out the first day, while the apparatus settled.",
    "Readers who want to repeat the work will find the drawings in the archive.",
    "One referee asked for a longer series; it is under way.",
    "The curves may be interpolated but not extended.",
    "Practitioners had guessed the direction, not the size, of the effect.",
    "In three cases the record was interrupted by a power cut and resumed.",
    "The same bench had been used for the preceding report.",
    "Measured values were rounded only at the end.",
    "Parts from the stockroom behaved like parts made for the purpose.",
    "It is tempting to blame the supplier, but the data do not allow it.",
    "Whether the result holds for larger parts remains to be seen.",
    "A simple model with two parameters describes most of what we saw.",
    "Cleaning between the runs turned out to matter more than expected.",
    "The three variants were indistinguishable when new.",
    "Two colleagues judged the surfaces independently and agreed in nearly all cases.",
    "Repeat measurements on another day fell within the spread.",
    "None of the specimens was reworked.",
    "We do not discuss patents here.",
    "The customers' own records point the same way.",
    "At the start of the series nobody expected a clear answer.",
    "The archive holds one intact piece of every kind.",
    "A rougher test on the shop floor would have missed the difference.",
    "For the sake of brevity only the most telling sections are shown.",
    "Seen from the service hatch, all looked alike.",
    "An attempt to speed up the test by heating failed: the order of the variants changed.",
)

JOURNALS = ("J. Appl. Surf. Eng.", "Proc. Nordic Tribology", "Mater. Today Lett.", "Int. J. Maint. Sci.",
            "Acta Polym. Tech.", "Noise Control Q.", "Trans. Ship Mach.", "Ann. Build. Phys.")  # fmt: skip
