# ruff: noqa: E501 (one vocabulary entry per line reads best)
"""Vocabulary of projects: goals, obstacles, budget items, tasks, complaints, rivals."""

from __future__ import annotations

from sightline.demo.terms import Term, term, terms

# A project's aim, and two problems it answers.
GOALS: tuple[tuple[Term, Term, Term], ...] = tuple(
    (term(goal), term(first), term(second))
    for goal, first, second in (
        line.split(";")
        for line in """
moving final assembly under one roof | bringing the last production step together in one building; three buildings and two shuttle trucks | too much driving between halls; fitters who spend half their day looking for tools | mechanics searching for equipment
a single customer portal | one website where buyers find everything; callers who ring four numbers before anyone helps | clients being passed around on the phone; drawings sent by fax | outdated ways of transmitting plans
replacing paper work orders | getting rid of printed job sheets; forms that wait two days for a signature | slow sign-off; handwriting nobody can read | illegible notes
a modular housing for all sizes | one casing system across the range; nineteen versions of the same lid | needless variety of one cover; moulds that are used twice a year | idle casting forms
shipping without wooden crates | sending goods out with no timber boxes; crates that cost more than the freight | packaging dearer than transport; nails in the customers' tyres | punctures from fasteners
an entry-level model | a cheaper version for beginners; lost bids at the lower end | failing to win budget tenders; schools that buy second-hand | pupils learning on used machines
winning back lapsed customers | regaining buyers who had left; addresses nobody has called since the merger | forgotten contacts; a rival's tour through our old accounts | competitors visiting former clients
a four-week delivery promise | guaranteeing goods within a month; a competitor that ships in twenty days | others being faster; penalties for late goods | fines because of delays
a paint line without solvents | coating free of volatile chemicals; complaints about fumes from the school | pupils bothered by smell; a permit that ends soon | an expiring official licence
service by video call | fixing faults remotely with a camera; technicians on the motorway | engineers wasting time on the road; visits that end after five minutes | trips for trivial faults
spare parts from a 3D printer | making replacement components additively; castings no foundry makes any more | metal blanks out of production; drawers full of levers for machines long gone | stock for extinct models
quieter machines for schools | cutting noise for classrooms; a decibel limit that takes effect soon | upcoming rules on loudness; teachers who switch the unit off | lessons disturbed by humming
a common test bench in three works | shared checking equipment across plants; tests repeated because nobody trusts the other lab | double checking out of distrust; a queue of eleven weeks | long waiting for trials
a price list in one currency | quoting the same money everywhere; dealers who order where it is cheapest | resellers exploiting differences; quotes that expire before they are read | offers outdated on arrival
a training ship for apprentices | a learning place for trainees; graduates who leave after the exam | youngsters quitting once qualified; old hands with no time to explain | veterans too busy for teaching
""".strip().splitlines()
    )
)

ITEMS = terms("""
racking and conveyors | shelves and moving belts
licences and interfaces | software rights and connections
moulds and jigs | forms and holding devices
travel and lodging | trips and hotel nights
consultants | outside advisers
floor and foundations | concrete work
retraining of operators | teaching the machine staff anew
certification | approval by an official body
double running of old and new line | operating both set-ups in parallel
reserve for surprises | buffer for the unexpected
removal of old machines | disposal of used equipment
prototypes | early sample units
trade fair stand | booth at the exhibition
cranes and rigging hire | renting lifting gear
""")

OBSTACLES = terms("""
the landlord's consent | permission from the building owner
a test lab booked out for months | no free slot for checks
two experts about to retire | specialists leaving for their pension
data in three formats | records that do not match
a union vote in autumn | employees' representatives deciding later
a supplier in receivership | an insolvent vendor
chips on allocation | rationed semiconductors
nesting birds on the roof | protected animals above the hall
an unclear patent of a rival | doubts about a competitor's rights
ground water under hall 2 | wet subsoil below the building
a translation into eleven languages | texts needed in many tongues
a power line that is too thin | insufficient electricity supply
""")

ANSWERS = terms("""
a clause in the lease | a paragraph of the rental agreement
renting a bench at the university | using academic equipment
a year of overlap for successors | letting new experts work alongside old ones
a clean-up week in February | seven days of tidying records
talks with delegates every Friday | weekly meetings with representatives
a second vendor on call | an alternative source standing by
a buffer stock for nine months | goods in reserve for three quarters of a year
work only after the breeding season | waiting until the young have flown
an opinion by an outside lawyer | advice from an independent attorney
sheet piles and a pump | steel walls and drainage
pictures in place of words | wordless instructions
a battery in a container | stored electricity in a box
""")

COMPLAINTS = terms("""
waiting for spare parts | slow replacement components
hard-to-read manuals | confusing instructions
noise at night | loudness after dark
unfriendly invoices | bills that are difficult to understand
doors that stick | panels that jam
the weight of the lid | a heavy cover
missing drawings | absent plans
rude telephone staff | impolite operators on the line
late fitters | mechanics not being on time
weak handles | grips that break
a sharp edge at the rear | the back cutting people's hands
the short power cord | a lead that does not reach
cloudy displays | screens going dull
loose packaging | badly wrapped goods
""")

WISHES = terms("""
a four-day week in summer | working fewer days in the warm season
better light at the benches | brighter workplaces
a say in shift planning | influence on the roster
warm meals at night | hot food on the late shift
bicycle leasing | getting a bike through the employer
quiet rooms for calls | places to phone undisturbed
clearer goals from managers | bosses saying what they want
a gym next door | sports nearby
fewer e-mails after six | no messages in the evening
lockers that can be locked | secure storage for private things
time for tidying up | minutes for keeping order
courses in the afternoon | lessons after lunch
""")

TASKS = terms("""
freeze the drawings | stop changing the design
sign the lease | conclude the rental agreement
visit three reference plants | see comparable factories
order the long-lead parts | buy the components that take longest
train the first twenty operators | teach the initial group of staff
measure noise at the fence | check loudness at the boundary
ask the bank for an offer | get a quotation for a loan
write to all former customers | contact past buyers
empty the old store | clear out the previous warehouse
hire two test engineers | recruit people for checking
close the old web shop | shut the previous online store
choose the logistics partner | select a haulier
""")

RIVALS = ("Hokkan", "Belfort & Sohn", "Pradesh Union", "Castello", "Ardmore", "Zhuang", "Lumière Sud", "Kessler",
          "Northgate", "Tamarack", "Oriente", "Vandam")  # fmt: skip

QUALITIES = terms("""
price | how cheap it is
delivery time | speed of supply
ease of cleaning | how simply it is washed
service life | durability
design | looks
noise | loudness
energy use | power demand
advice before purchase | help when choosing
spare parts | availability of replacements
software | the programs that come with it
""")

# Project code names: the group names projects after winds.
WINDS = ("Zephyr", "Bora", "Mistral", "Levanter", "Sirocco", "Tramontane", "Passat", "Foehn", "Meltemi", "Chinook",
         "Shamal", "Pampero", "Haboob", "Monsoon")  # fmt: skip
