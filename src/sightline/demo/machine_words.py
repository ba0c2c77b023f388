# ruff: noqa: E501 (one vocabulary entry per line reads best)
"""Vocabulary of technical manuals: data, parts, fasteners, jobs, faults, signals, hazards."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from sightline.demo.terms import Term, term, terms

Maker = Callable[[random.Random, float], str]


@dataclass(frozen=True)
class Attribute:
    """A row of the technical data: its name, and how its value is made for a machine of some bulk (0 to 1)."""

    name: Term
    value: Maker


@dataclass(frozen=True)
class Task:
    """A procedure: its name, its steps, and the range of the number ``{n}`` in one of them."""

    name: Term
    steps: tuple[str, ...]
    low: int
    high: int


def _span(low: float, high: float, unit: str, digits: int = 0, step: float = 1, bulky: bool = False) -> Maker:
    """Values between ``low`` and ``high``; ``bulky`` ones stay low for small machines."""

    def make(rng: random.Random, bulk: float) -> str:
        top = low + (high - low) * bulk if bulky else high
        return f"{round(rng.uniform(low, top) / step) * step:,.{digits}f} {unit}"

    return make


def _one_of(*values: str) -> Maker:
    return lambda rng, bulk: rng.choice(values)


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(term("Mass, ready to run | weight | how heavy it is"), _span(14, 900, "kg", bulky=True)),
    Attribute(term("Sound pressure at 1 m | noise level | how loud it is"), _span(41, 84, "dB(A)")),
    Attribute(term("Rated input | power needed | wattage"), _span(0.3, 18, "kW", 1, 0.1, bulky=True)),
    Attribute(term("Back-up fuse | circuit breaker rating | required fuse"), _span(6, 63, "A, slow")),
    Attribute(
        term("Footprint | floor space taken | size on the ground"),
        _span(400, 2900, "mm x 780 mm", 0, 10, bulky=True),
    ),
    Attribute(
        term("Overall height | how tall it is | vertical dimension"), _span(380, 2350, "mm", 0, 5, bulky=True)
    ),
    Attribute(
        term("Admissible ambient | permitted room temperature | how hot or cold the surroundings may be"),
        _span(31, 52, "°C at most"),
    ),
    Attribute(
        term("Ingress protection | resistance to dust and water | sealing class"),
        _one_of("IP 20", "IP 21", "IP 44", "IP 54", "IP 55", "IP 65", "IP 67"),
    ),
    Attribute(
        term("Oil charge | amount of lubricant | gearbox filling"),
        _span(0.2, 9.6, "l of ISO VG 220", 1, 0.1, bulky=True),
    ),
    Attribute(
        term("Compressed air | pneumatic supply | air pressure needed"), _span(3.5, 8.5, "bar", 1, 0.1)
    ),
    Attribute(
        term("Heat given off | thermal load on the room | warmth released"),
        _span(120, 3900, "W", 0, 10, bulky=True),
    ),
    Attribute(term("Largest load | maximum burden | capacity limit"), _span(6, 980, "kg", bulky=True)),
    Attribute(
        term("Stand-by draw | idle consumption | electricity used when doing nothing"),
        _span(1.5, 28, "W", 1, 0.1),
    ),
    Attribute(
        term("Mains | supply voltage | electrical hook-up"),
        _one_of("1/N/PE 230 V, 50 Hz", "3/N/PE 400 V, 50 Hz", "3/PE 480 V, 60 Hz", "1/N/PE 120 V, 60 Hz"),
    ),
    Attribute(
        term("Design life | expected lifetime | years it should last"),
        lambda rng, bulk: f"{rng.randint(8, 25)} years or {rng.randint(20, 90)},000 h",
    ),
    Attribute(
        term("Site elevation | altitude limit | metres above sea level"), _span(1000, 4000, "m", 0, 100)
    ),
)

PARTS = terms("""
intake strainer | sieve at the inlet
drive motor | electric engine
coupling guard | cover over the shaft connection
relief valve | device that lets off excess pressure
control cabinet | box with the electrics
drip tray | pan that catches leaks
sight glass | little window for the fill level
vent plug | screw for letting out air
gear unit | transmission
limit switch | end-of-travel sensor
isolator | main on-off switch
hand wheel | manual crank
levelling foot | adjustable support
filter mat | dust collector
terminal strip | row of wire connections
bearing block | shaft support
belt tensioner | device that keeps the band tight
heating element | part that warms up
temperature probe | thermometer
fan | blower
mushroom button | emergency stop
type plate | label with the serial number
lifting eye | ring for the crane hook
drain cock | tap for emptying
load cell | weighing sensor
guide rail | track the carriage runs on
""")

FASTENERS = terms("""
lid screws | fixings of the cover
foundation bolts | anchors in the floor
motor flange | joint to the electric drive
terminal clamps | wire connections
bearing caps | covers of the shaft supports
filter ring | clamping of the dust collector
pressure union | joint of the high-pressure line
guard hinges | pivots of the safety cover
gear flange | joint of the transmission
earth stud | grounding bolt
""")

JOBS = terms("""
wipe the sight glass | clean the level window
change the filter mat | replace the dust collector
re-tension the belt | tighten the drive band
grease the bearing blocks | lubricate the shaft supports
renew the shaft seal | fit a fresh gasket on the rotating part
test the mushroom button | try the emergency stop
drain the condensate | let out collected water
check the earth lead | examine the grounding wire
flush the circuit | rinse the pipework
replace the backup cell | swap the memory battery
descale the heating element | remove lime from the heater
take a sounding of the load cell | calibrate the weighing sensor
look for cracks at the lifting eye | inspect the crane ring for damage
blow out the fan | remove dust from the ventilator
renew the gear oil | put fresh lubricant in the transmission
""")

# Symptom, probable cause, remedy.
FAULTS: tuple[tuple[Term, Term, Term], ...] = tuple(
    (term(symptom), term(cause), term(remedy))
    for symptom, cause, remedy in (line.split(";") for line in """
Hums but does not turn | it buzzes without moving; One phase is missing | a dead supply conductor; Check the back-up fuses | look at the circuit protection
Trips after a few minutes | it switches itself off shortly after starting; Vent slots are covered | obstructed cooling openings; Keep 200 mm free on all sides | leave room around it
Rattles at low speed | it clatters when slow; Belt is slack | a loose drive band; Move the tensioner by two marks | tighten the band
Leaves a puddle | fluid on the floor underneath; Drain cock not seated | the emptying tap does not close; Fit a new O-ring | replace the sealing ring
Display stays dark | the screen shows nothing; Ribbon cable has slipped | a flat wire came off; Press the plug home | push the connector in
Smells of rubber | an odour of burnt tyres; Coupling runs out of line | misaligned shafts; Align with a dial gauge | straighten the shafts with a measuring clock
Results drift upwards | readings that creep higher; Temperature not yet stable | it has not warmed up; Wait for one watch | give it time before use
Stops at random | it halts for no visible reason; Limit switch is dirty | a soiled end-of-travel sensor; Clean it with alcohol | wipe the sensor with spirit
Will not start after cleaning | dead following a wash; Moisture in the plug | a damp connector; Dry for two hours | let it get rid of the wet
Runs backwards | turning the wrong way; Two phases are swapped | supply wires mixed up; Have a fitter exchange L1 and L2 | get an electrician to swap conductors
Jerks when lowering | uneven downward motion; Air in the cylinder | bubbles in the hydraulics; Bleed at the vent plug | let the air out
Whistles | a high-pitched sound; Intake strainer is clogged | a stopped-up sieve; Rinse it against the flow | wash it in reverse
Uses too much power | the electricity bill went up; Bearing runs dry | a shaft support without grease; Add two strokes of grease | lubricate
Forgets its settings | programmed values vanish; Backup cell is empty | a flat memory battery; Replace the cell with power on | swap the battery without switching off
""".strip().splitlines())
)  # fmt: skip

MESSAGES = terms("""
motor too warm | overheated drive
door not closed | an open cover
no flow | lack of liquid moving
weight out of range | overload
sensor broken | failed detector
link lost | interrupted data connection
service due | maintenance is pending
wrong tool fitted | unsuitable attachment
supply too low | insufficient voltage
brake released by hand | manually loosened stopper
memory full | no storage left
level too high | overfilling
""")

REACTIONS = terms("""
slows to half speed | runs at fifty per cent
stops at the end of the cycle | finishes the pass before halting
stops at once and locks | freezes immediately
sounds a horn three times | gives three acoustic signals
goes on and counts the event | merely records it
switches to the spare channel | uses the reserve line
lowers the load | brings the weight down
opens the bypass | diverts around
""")

LAMPS = terms("""
steady green | continuous green
green, blinking slowly | slow green flashes
steady amber | continuous yellow
amber, two flashes | double yellow blink
steady red | continuous red
red, blinking fast | quick red flashes
blue | blue
white, pulsing | breathing white
""")

# A state of the machine and the colours a lamp may have for it: nobody signals a fault in green.
STATES: tuple[tuple[Term, tuple[str, ...]], ...] = tuple(
    (term(state), tuple(colours.split()))
    for state, colours in (line.split(";") for line in """
ready for the next job | waiting for work; green white
warming up | heating before use; green amber white
held by the operator | paused by a person; amber blue
saving data | writing to memory; white blue green
waiting for material | short of something to process; amber white green
open for dry dock | in maintenance mode; blue amber red
stopped by a fault | broken down; red
under remote control | steered from elsewhere; blue white
too hot to open | at a dangerous temperature; red amber
""".strip().splitlines())
)  # fmt: skip

# Hazard and the duty that follows from it.
HAZARDS: tuple[tuple[Term, Term], ...] = tuple(
    (term(hazard), term(duty))
    for hazard, duty in (line.split(";") for line in """
Hot surfaces behind the rear panel | risk of burns; Let it stand for forty minutes before opening | cooling-off time
Parts that go on turning after switch-off | run-on of moving components; Wait for the lamp to go out | when it is safe to reach in
Crushing between frame and wall | getting squeezed; Keep a clear aisle of 900 mm | necessary passage width
Charged capacitors | stored electricity; Discharge at the marked point and measure | removing residual voltage
Toppling while being moved | falling over in transit; Lift at the eye only, never by the handles | where to attach the crane
Loud noise with the lid open | hearing damage; Wear ear defenders | protective equipment for the ears
Escaping refrigerant | leaking coolant gas; Air the room and keep flames away | what to do about gas in the room
Sharp edges at the cutter | cuts to the hand; Use the gloves from the tool box | hand protection
Magnetic fields | danger for pacemakers; No access for people with implants | who must stay away
Dust that can explode | inflammable powder in the air; Earth every container | grounding against sparks
Slippery floor below the tray | sliding and falling; Spread binder and sweep it up | dealing with spilled liquid
Unexpected restart | it suddenly begins to move; Hang a padlock on the isolator | securing the main switch
""".strip().splitlines())
)  # fmt: skip

TASKS: tuple[Task, ...] = (
    Task(term("First light | commissioning | starting it for the first time"), (
        "Remove the red transport locks and keep them.", "Fill up to the middle of the sight glass.",
        "Turn the shaft by hand; it must move freely.", "Switch on at the isolator and wait for the lamp.",
        "Run empty for {n} minutes.", "Enter the date in the logbook."), 5, 40),
    Task(term("Lay-up | long-term storage | mothballing over winter"), (
        "Empty it through the drain cock.", "Leave all valves half open.", "Spray bare steel with wax oil.",
        "Hang {n} bags of silica gel inside.", "Cover with a sheet that can breathe.", "Turn the shaft once a month."), 2, 12),
    Task(term("Wash-down | cleaning | hygiene after use"), (
        "Cut the power and hang the padlock.", "Take out the tray and the strainer.",
        "Rinse with water of at most {n} °C.", "Never aim the jet at the cabinet.", "Wipe dry with a lint-free cloth."), 28, 60),
    Task(term("Sounding | calibration | checking its accuracy"), (
        "Let it warm up for {n} minutes.", "Put the reference piece in the middle.", "Press and hold the two outer keys.",
        "Compare the reading with the plate.", "Note the deviation; above the limit call the red wrench."), 15, 90),
    Task(term("Setting in place | installation | putting it up at the site"), (
        "Choose a level floor that carries the mass.", "Lift at the eye with two slings.", "Set down on all four feet.",
        "Level to {n} mm over the length.", "Connect the earth lead before anything else."), 1, 4),
    Task(term("Paying off | disposal | scrapping it at the end of its life"), (
        "Have the refrigerant drawn off.", "Drain {n} litres of oil into a marked can.", "Take out the backup cell.",
        "Separate copper, steel and plastic.", "Return the type plate to the works."), 1, 6),
    Task(term("Change of format | switching to another size | retooling"), (
        "Run the magazine empty.", "Loosen the two star grips.", "Move the guide to mark {n}.", "Swap the tool set; the pins are coded.",
        "Do five pieces by hand wheel.", "Release the new format at the panel."), 2, 19),
    Task(term("Raising steam again | restart after a power failure | getting going once electricity is back"), (
        "Pull out the mushroom button.", "Wait {n} seconds for the self-test.", "Drive to the zero position at creep speed.",
        "Check that the last piece has left.", "Confirm with the blue key."), 10, 75),
    Task(term("Cutting over to hand | manual operation | using it without electricity"), (
        "Switch off at the isolator.", "Push the hand wheel in until it clicks.", "Turn clockwise, about {n} turns per stroke.",
        "Two people for loads above half the limit.", "Pull the wheel out again afterwards."), 3, 24),
)  # fmt: skip

SPARES = terms("""
strainer insert | replacement sieve
shaft seal, FKM | gasket for the shaft
toothed belt | notched drive band
filter mats, pack of ten | set of dust collectors
backup cell | memory battery
brush set | carbon contacts
key switch with two keys | lockable selector
gasket for the lid | cover seal
fan, 24 V | small blower
sight glass with ring | level window
bearing, sealed | closed roller
fuse holder | mount for circuit protection
""")
