# ruff: noqa: E501 (one vocabulary entry per line reads best)
"""What happens in companies: incidents, causes, remedies, risks, markets, plans. Shared by all kinds."""

from __future__ import annotations

from sightline.demo.terms import Term, term, terms
from sightline.demo.world import Company, World

# Incidents with the causes and remedies that make sense for them, by nature.
_MECHANICAL = (
    terms("""
a derailed overhead crane | the hoist that came off its rail
a collapsed pallet rack | the shelving that gave way
a forklift on its side | the lift truck that tipped over
a jammed conveyor at goods-in | the stuck belt in the receiving area
a dropped transformer | the accident when power equipment was lifted
a torn drive belt | the snapped transmission band
a shattered skylight | the broken roof window
a seized spindle | the shaft that no longer turned
"""),
    terms("""
a missing split pin | a securing part that was not there
worn brake shoes | friction linings past their life
fatigue in a weld seam | metal that tired at a joint
a bent guide rail | a deformed track
grease of the wrong grade | an unsuitable lubricant
an overtightened clamp | a bracket fastened with too much force
tremors from the road works | shaking by construction outside
a contractor with an outdated drawing | an outside firm using an old plan
"""),
    terms("""
a refresher course for crane drivers | retraining hoist operators
a barrier of concrete blocks | heavy stones keeping vehicles away
mirrors at the blind corner | reflectors where drivers cannot see
a torque wrench with a counter | a tool that records tightening
photographs of the right setting beside the machine | pictures showing how it should be adjusted
a second pair of eyes at every handover | two people confirming each shift change
"""),
)
_FLUID = (
    terms("""
a fire in the extraction duct | the blaze in the ventilation
a burst hydraulic hose | the ruptured oil line
a flooded cable cellar | the water in the basement with the wiring
a chlorine smell in hall 3 | the bleach fumes
the wrong solvent in tank 7 | the vessel filled with an incorrect cleaner
an ammonia escape at the chiller | the leaking refrigerant
frozen sprinkler pipes | the iced-up fire-fighting lines
an acid stain on the yard | the corrosive spill outdoors
"""),
    terms("""
a blocked filter mat | a clogged dust filter
a valve left open after cleaning | a tap nobody closed following the wash
two labels that looked alike | a mix-up of similar stickers
condensation after the cold spell | moisture once the frost ended
a check skipped over Easter | a control left out during a holiday
a hardened rubber gasket | a seal that had gone stiff
paint flakes on a level sensor | dirt on a detector
an unread safety notice | a warning no one looked at
"""),
    terms("""
colour-coded couplings | connectors marked by different paint
a padlock on the bypass | locking the detour valve
another source for the seals | a different gasket vendor
a separate store for solvents | keeping cleaning fluids apart
a heater in the pipe duct | warming the channel with the lines
half-yearly drills with the fire brigade | practising with the firefighters
"""),
)
_ELECTRIC = (
    terms("""
a ransom note on the file server | the blackmail by hackers
a voltage dip during the night | the short power failure after dark
a false alarm at midnight | the needless evacuation during the night
a dead time clock at the gate | the attendance recorder that stopped working
a burnt-out switch cabinet | the charred electrics box
a cracked furnace lining | the broken bricks inside the melter
"""),
    terms("""
a clock set to the wrong time zone | a computer showing another hour
a mouse nest in the junction box | rodents among the wires
a password known to the whole team | login data everybody shared
a weak battery in the control unit | a nearly empty power cell in the electronics
an update loaded on a Friday evening | installing software right before the weekend
a loose neutral conductor | a wire that had worked free
"""),
    terms("""
weekly rounds with a thermal camera | regular infrared checks
spare fuses in every cabinet | keeping replacement circuit protection at hand
two-step login | signing in with an additional code
wire netting over the openings | mesh against animals
a monthly test of the emergency lamps | trying the escape lighting regularly
tablets in place of log sheets | electronic records rather than paper
"""),
)
_YARD = (
    terms("""
a stolen trailer of copper | the theft of a load of metal
a lost master key | the missing key to all doors
a swarm of bees in the loading bay | the insects where lorries are filled
a delivery to the wrong customer | the goods that reached a stranger
a blocked access road | the driveway nobody could use
"""),
    terms("""
a delivery driver unfamiliar with the site | a trucker who did not know the place
a gate propped open in the heat | an entrance wedged ajar on a hot day
a temporary guard without a handover | a stand-in watchman who was not briefed
lime trees in full bloom | flowering trees next door
a crossed-out address on the waybill | shipping papers altered by hand
"""),
    terms("""
a bell that rings when a door stays open | an acoustic signal for unclosed gates
a logbook at the entrance | registering everyone who comes in
cameras with number plate reading | automatic recognition of vehicles
a site map for every driver | handing truckers a plan of the grounds
"""),
)
_NATURES = (_MECHANICAL, _FLUID, _ELECTRIC, _YARD)


def mishap(world: World, company: Company) -> tuple[Term, Term, Term]:
    """An incident new to this company, with a cause and a remedy of the same nature."""
    every = [incident for nature in _NATURES for incident in nature[0]]
    [incident] = world.fresh(f"incident {company.short}", every)
    number = next(i for i, nature in enumerate(_NATURES) if incident in nature[0])
    [cause] = world.fresh(f"cause {number}", _NATURES[number][1])
    [remedy] = world.fresh(f"remedy {number}", _NATURES[number][2])
    return incident, cause, remedy


# A risk, and two things that can be done about it.
RISKS: tuple[tuple[Term, Term, Term], ...] = tuple(
    (term(risk), term(first), term(second))
    for risk, first, second in (line.split(";") for line in """
a single source for castings | relying on only one foundry; a twin tool kept in Brno | a duplicate die stored in Czechia; a stock of blanks for ten weeks | a reserve of raw parts
the shortage of welders | too few metal joiners on the labour market; a school of its own for joiners | educating craftsmen in-house; flats for newcomers | housing for recruits
attacks on control systems | hackers going after the machines; a network cut off from the internet | isolated computers; a drill with paper forms | rehearsing work without computers
the rate of the krone | currency swings; forward contracts over eighteen months | locking in exchange rates; loans in the currency of the sales | borrowing in the money customers pay with
counterfeit spare parts | fake replacement components; holograms on every carton | shiny security stickers on boxes; a hotline for suspicious offers | a number to call about doubtful bargains
a ban on fluorinated gases | refrigerants becoming illegal; a switch to propane | using a natural hydrocarbon instead; a redesign for ammonia | adapting products to another coolant
drought on the Rhine | low river levels hampering barges; rail slots booked for the dry season | trains reserved for summer; a depot below Cologne | a storehouse further downstream
the age of the key account managers | sales staff close to retirement; tandems of young and old sellers | pairing juniors with veterans; filmed customer visits | recording meetings with clients
copycats on online marketplaces | imitations sold on the internet; a lawyer who scans web shops | legal checks of internet offers; serial numbers that can be checked by phone | codes buyers can verify
the liability for old asbestos | claims from hazardous insulation of the past; a provision of ten million | money put aside; a settlement fund with the insurers | sharing compensation with underwriters
unpaid bills of a state railway | a public train operator not paying; payment in advance | cash before delivery; an export guarantee | a government warranty for foreign sales
a lapse of the core patent | the main invention losing protection; eleven follow-up filings | applying for further protection; a lower-priced second brand | a cheap label of its own
""".strip().splitlines())
)  # fmt: skip

MARKETS = terms("""
Nordic countries | Scandinavia
Iberia | Spain and Portugal
Benelux | Belgium and the Netherlands
DACH | Germany, Austria and Switzerland
Maghreb | Morocco, Algeria and Tunisia
Oceania | Australia and New Zealand
Southern Cone | Argentina and Chile
Gulf states | Qatar and the Emirates
Baltic states | Estonia, Latvia and Lithuania
British Isles | the UK and Ireland
Far East | China and Japan
North America | the USA and Canada
Balkans | Serbia, Croatia and their neighbours
Andean region | Peru, Bolivia and Ecuador
""")

PLANS = terms("""
a showroom on wheels | a travelling exhibition
a hire fleet | renting machines out
a repair school for dealers | teaching resellers how to mend things
a digital twin of the main hall | a computer model of the building
a second test bay | another place to try products
a bonded warehouse | a duty-free store
a nursery for apprentices' children | day care for trainees' kids
a night train for parts | moving components by rail after dark
a wind turbine behind the yard | making electricity from wind
a clean room for optics | a dust-free chamber
a museum in the old boiler house | a place for visitors about the past
a buy-back offer for worn machines | taking used equipment from clients
a canteen run by a cooperative | a staff restaurant managed jointly
a call centre in the evening hours | phone support after work
a robot cell for deburring | automatic removal of sharp edges
a shared lorry park with the neighbour | joint parking for trucks
""")

CHAIR_THEMES = terms("""
patience with young engineers | giving new developers time
honest numbers, even bad ones | being frank about results
repair before replacement | mending things rather than buying new
fewer meetings and more walks through the halls | less sitting together, more visits on the floor
keeping decisions close to the machine | letting workers decide
learning the customer's trade | understanding what buyers do
a spare of everything that matters | having reserves
handing the firm on in good order | leaving a healthy business to successors
saying no to quick growth | refusing to expand fast
neighbours who trust us | good relations with the town
standards that outlive managers | rules that survive a change of bosses
apprentices before consultants | training youngsters instead of hiring advisers
""")

FIGURE_REMARKS = (
    "Comparison with earlier years is possible because the method of counting has not changed.",
    "Seasonal effects evened out over the twelve months.",
    "Auditors checked the underlying records on a sample basis.",
    "Neither the weather nor the calendar explains the movement.",
    "Foremen review the development every month with their teams.",
    "Competitors of similar size publish comparable results.",
    "One-off effects have not been removed from the series.",
    "Smaller branches are included on a pro rata basis.",
    "Some of the effect came through only in the last weeks of the year.",
    "The plan for the coming year assumes a steady course.",
    "The value is stated before rounding differences.",
    "A detailed breakdown is available to shareholders on request.",
    "The target agreed with the group was met with a little to spare.",
    "The target agreed with the group was narrowly missed.",
    "Our largest works accounts for a good half of the movement.",
    "The first quarter was weak, the remaining three were not.",
    "Acquired businesses are included from the day we took them over.",
    "The supervisory committee had asked for closer reporting on this point.",
)

EVENT_REMARKS = (
    "Nobody was hurt.",
    "Customers were told the same day and showed understanding.",
    "The sister works lent people and tools.",
    "The insurer has accepted the account of events.",
    "The works council was heard and agreed to the measures.",
    "Deliveries were made up for by the end of the quarter.",
    "The neighbours were invited to see the result.",
    "It took longer than expected, and the patience paid off.",
    "The lesson has been entered in the signal book of every works.",
)

REMARKS = (
    "The board discussed the matter at three of its meetings.",
    "The works council was heard and agreed.",
    "We shall report on the subject again next year.",
    "The supervisory committee had asked for this overview.",
    "Colleagues from all three works took part in the review.",
    "External advisers were not needed.",
    "The list is not complete, but it holds what matters most.",
    "Shareholders find more on the subject in the notes.",
)
