# ruff: noqa: E501 (one vocabulary entry per line reads best)
"""Vocabulary of forms and letters: changes, works, articles, journeys, requests, matters of complaint."""

from __future__ import annotations

from sightline.demo.terms import Term, term, terms

# A change asked for, and the reason given.
CHANGES: tuple[tuple[Term, Term], ...] = tuple(
    (term(change), term(reason))
    for change, reason in (line.split(";") for line in """
Move the drinking fountain to the canteen | shifting the water dispenser; Queue blocks the escape route | people standing in the emergency exit path
Paint a walkway through hall 2 | marking a path for pedestrians; Two near misses with pallet trucks | nearly being hit by hand trolleys
Lower the workbench by 8 cm | a less high working table; Back pain of three colleagues | aching spines
Put a mirror above the ramp | a reflector at the slope; Drivers cannot see the gate | poor sight of the entrance
Swap lamp tubes for panels | new lighting; Flicker disturbs the cameras | pulsating light upsetting optics
Shorten the morning meeting to ten minutes | less talking at the start of the day; Shift handover runs late | teams changing over behind schedule
Second key for the tool store | an additional opener for the equipment room; Night crew cannot get gauges | late workers without measuring tools
Rubber mats at line 4 | soft flooring; Cold feet in winter | chilly toes
Another label printer at packing | an extra sticker device; Two hours of waiting a day | idle time
Reverse the flow in the paint hall | painting in the other direction; Dust settles on wet doors | dirt on fresh coating
Bicycle stand under cover | a sheltered place for bikes; Rain rusts the chains | corrosion
Stop printing delivery notes | no more paper with shipments; Customers read them on screen | clients using displays
Raise the fence on the north side | a higher barrier around the site; Cable theft in spring | stolen wire
Buy left-handed shears | cutting tools for the other hand; Four colleagues cut with the wrong hand | awkward grip
""".strip().splitlines())
)  # fmt: skip

WORKS = terms("""
Welding a bracket to the roof beam | joining metal under the ceiling
Cutting the old boiler | taking apart the former steam vessel
Soldering the rain pipe | joining the gutter
Grinding the crane rail | smoothing the hoist track
Torching bitumen on the flat roof | melting the roofing sheet
Brazing the cooling line | hard-soldering refrigerant tubes
Thawing the fire main | melting ice in the hydrant pipe
Drilling through the chimney | making a hole in the smoke stack
Cutting bolts on the silo | removing fixings from the grain tank
Welding the handrail of the stair | joining metal where people hold on
""")

ARTICLES = terms("""
cast covers, old pattern | lids of the former design
winter gloves size 7 | small hand warmers
catalogues in Norwegian | printed brochures for Norway
relays for 110 volts | switches for a foreign voltage
purple paint, thinned | diluted violet coating
wooden crates, long | big boxes of timber
display boards version 1 | first-generation screen electronics
brass nozzles | yellow metal spray tips
dot-matrix ribbons | ink bands for old printers
copper offcuts | remnants of red metal
hoses of natural rubber | flexible latex lines
faded sun sails | bleached canopies
""")

JOURNEYS = terms("""
Hanover, trade fair | the German exhibition
Osaka, acceptance of a machine | the Japanese handover test
Lagos, talks with a dealer | negotiations in Nigeria
Reykjavik, repair on a trawler | fixing something on an Icelandic fishing boat
Marseille, training | the course in the south of France
Montreal, court hearing | the trial in Canada
Athens, ferry yard | the Greek shipyard
Dublin, audit | the Irish inspection
Warsaw, interview days | recruiting in the Polish capital
Cairo, tender | bidding in Egypt
Helsinki, winter test | the cold trial in Finland
Santiago, installation | set-up work in Chile
""")

VEHICLES = terms("""
night train | sleeper
own car | private vehicle
plane, economy | cheap flight
ferry and bus | boat and coach
company van | firm's delivery vehicle
""")

FINDINGS = terms("""
gauges past their date | measuring tools not checked in time
no separate place for rejects | bad parts stored among good ones
drawings without index | plans lacking a revision
drinks at the machines | beverages next to equipment
unlabelled drums | barrels with unknown content
an emergency exit behind pallets | a blocked escape door
training records incomplete | gaps in the proof of courses
oil lamps in the paint store | open fire near coatings
first samples never released | initial pieces without approval
one person for all signatures | a single signatory
""")

SUPPLIERS = ("Danforth Castings", "Oleander Plastics", "Kirsten & Moe", "Baltic Fasteners", "Sole Nuovo", "Harrow Bearings",
             "Tessin Coatings", "Delta Foam", "Marlow Springs", "Ypres Webbing", "Rondo Glass", "Pinewood Crates")  # fmt: skip

VERDICTS = terms("""
rework at our cost | mending it without charging
send back to the maker | returning it to where it came from
scrap | throwing it away
use as it is | accepting the defect
sell at half price | a fifty per cent discount
keep for tests | retaining it as a trial piece
""")

DEFECTS = terms("""
scratched cover | marks on the lid
hole 2 mm out of place | a wrong bore position
wrong thread | screws that do not fit
rust under the paint | corrosion below the coating
missing earth lead | no grounding wire
crooked label | a sticker that is not straight
plug for another country | a foreign connector
colour too dark | a shade off
instructions in the wrong language | a booklet nobody could read
dent from the forks | damage by the lift truck
""")

KIT = terms("""
a stool with a back | a chair with support
safety glasses with lenses | protective spectacles for short-sighted people
a second screen | another monitor
a vibration-free hammer | a gentle striking tool
a locker near the gate | storage at the entrance
hearing protection made to measure | custom ear plugs
a trolley for gas bottles | wheels for cylinders
a radio for the crane | a two-way set for the hoist
boots of size 49 | very large shoes
a fan for the test room | something to move the air
a height-adjustable desk | a table one can stand at
a warm jacket | clothing against cold
""")

# A letter's matter, what the writer says about it, what the writer wants, and the letterhead (empty: a private person).
MATTERS: tuple[tuple[Term, str, Term, str], ...] = tuple(
    (term(matter), said.strip(), term(wish), trade.strip())
    for matter, said, wish, trade in (line.split(";") for line in """
Higher price of brass rod | more expensive yellow metal; Energy and ore have become dearer, and our furnace was rebuilt over the winter.; an increase of {n} per cent from the first of the month | a surcharge; Brass & Rod Ltd
Noise of your night deliveries | lorries keeping people awake; Since the autumn, lorries wait below our bedroom windows with their engines running.; no traffic before six in the morning | quiet until dawn; Residents of Quay Street
Application as an apprentice | a young person looking for a training place; I finish school in the summer and have repaired bicycles and radios since I was ten.; two weeks of trial work | a short internship;
Thanks for help in the flood | gratitude after the high water; When the river came over the wall your pumps and your people were here within the hour.; permission to name you in the parish paper | being mentioned in print; Parish Council
Crate with broken glass | damage in transit; When we opened the crate, {n} of the panes lay in splinters, although the box looked sound.; replacement free of charge | new goods for nothing; Glass Merchants
Unpaid invoice | money still owed; Our books show an amount of EUR {n}00 open since spring, and two reminders have gone unanswered.; payment within ten days | settling the debt; Bookbinders
Invitation to the harbour feast | being asked to a celebration; The town celebrates its old quay, and no firm has done more for it than yours.; a crew for the rowing race | people to compete in boats; Harbour Office
End of our contract | a customer terminating the agreement; After eleven good years we have decided to buy from a firm in our own town.; return of the {n} leased units | taking back rented machines; Dairy Cooperative
Wrong colour of the doors | a mistaken shade; We ordered moss green, and what came is the green of peas.; repainting at our hotel | coating again on site; Hotel Three Swans
Loan of the old steam engine | borrowing a historic machine; Our museum prepares a show about the days of steam and lacks its heart.; the loan of the engine for {n} months | lending for an exhibition; Maritime Museum
Reference for a former fitter | a judgement on an ex-employee; A man who says he worked for you for nine years has applied to us.; a word on his honesty and skill | an assessment of character; Weir Engineering Ltd
Subsidence along our wall | cracks in a neighbour's building; Since your new hall was piled, cracks as wide as a finger have opened in our wall.; a survey by an engineer | an expert's examination; Brewery Golden Oar
Late insurance certificate | paperwork about cover that has not come; Without your certificate our insurer will not cover the {n} machines in our yard.; a copy by return of post | sending the document immediately; Agricultural Hire
Gift for the hospice | asking for a donation; Our house cares for people in their last weeks and lives on gifts.; two beds or EUR {n}000 | support in kind or money; St Anne's Hospice
Smell of varnish in the school | odour troubling pupils; On days with south wind our classes have to keep the windows shut.; a talk with our parents' council | meeting mothers and fathers; Primary School
Course for our fitters | teaching a customer's mechanics; We run {n} of your machines and lost the only man who understood them.; a three-day course on our premises | lessons at the client's place; Municipal Laundry
Found: a box of your tools | somebody picked up lost equipment; On the parking place by the motorway I found a grey box with your name on it.; word on where to send it | instructions for returning it;
Delay of the spring order | late goods announced; Our foundry lost its roof in the storm, and we cast under a tent.; patience for {n} weeks | accepting a postponement; Upper Valley Foundry
Right of way across the meadow | using a path over someone's land; For three generations your carts have crossed our meadow, and nobody minded.; a written agreement | putting it on paper; Heron Farm
Old share found in an attic | a historic certificate of ownership; Clearing my aunt's house I found a share of your yard from 1922.; word on whether it has any worth | finding out its value;
""".strip().splitlines())
)  # fmt: skip

STREETS = ("Mill Lane", "Quay Street", "Station Road", "Church Hill", "Rope Walk", "Market Square", "Lime Alley",
           "Upper Weir", "Tanner's Row", "Old Toll House", "Bridge End", "Sailmaker Yard")  # fmt: skip
NOTES = (
    "Seen and initialled by the shift leader.",
    "Second sheet: see the back.",
    "Talked over on the phone first.",
    "The usual way of doing it did not work.",
    "Copy for the notice board.",
    "Please do not fold.",
    "Entered in the system on the same day.",
    "Compare the slip of last year.",
    "Sketch attached with a staple.",
    "Discussed at the morning round.",
    "No objections from the neighbours at the bench.",
    "Answer expected by Friday.",
)
