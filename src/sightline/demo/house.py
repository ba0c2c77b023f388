"""The house language of the Skarholm Group, the fictional owner of every document in the collection.

Skarholm began as a shipyard, and the yard's words stayed when it became a group of twelve companies:
reports print *muster* and people ask for the head count; forms go to the *Indigo Desk* and people
mean purchasing; manuals say *first light* for commissioning and count service in *watches*. No
general model knows these words, every document uses them alike, and searchers use plain English.
A model that learns them on the training documents finds more on the held-out ones: that is what
fine-tuning on one's own documents is for, and what the demo shows. About half of the questions do
not touch the house language; they paraphrase ordinary words.
"""

from __future__ import annotations

from sightline.demo.terms import terms

GROUP = "Skarholm Group"

# Departments are called by colours.
DESKS = terms("""
Amber Desk | customer complaints | the complaints department
Slate Desk | legal | the lawyers
Indigo Desk | purchasing | procurement
Copper Desk | human resources | personnel
Chalk Desk | internal audit | the auditors
Teal Desk | IT | computer support
Ochre Desk | facility management | the building services people
Rust Desk | maintenance | the repair crew
Pearl Desk | marketing | advertising
Moss Desk | environmental affairs | sustainability
Ink Desk | accounting | bookkeeping
Flint Desk | site security | the guards
""")

# Stages of a project or of a product's life.
STAGES = terms("""
shakedown | pilot test | trial run
first light | commissioning | start of operation
christening | product launch | market introduction
sounding | inspection | audit
dry dock | maintenance shutdown | overhaul period
wake review | lessons-learned meeting | debriefing
refit | modernisation | upgrade work
paying off | decommissioning | taking out of service
convoy call | meeting with suppliers | vendor conference
mooring | signing of the long-term contract | framework agreement
crew swap | handover to the new team | change of staff
chart review | budget approval | release of funds
""")

# Who may do a maintenance job.
WRENCHES = terms("""
blue wrench | anyone who operates the machine | an untrained operator
grey wrench | a skilled fitter | trained workshop personnel
red wrench | only the manufacturer's service | a certified specialist from the maker
""")

# How urgent something is.
FLAGS = terms("""
flag 1 | no hurry | low priority
flag 3 | within the week | medium priority
flag 5 | at once | top priority
""")

# Service intervals are counted in watches of 250 running hours.
WATCH_HOURS = 250
