# ruff: noqa: E501 (one vocabulary entry per line reads best)
"""Who and what exists: companies, sites, products, people, and a drawing bag that never repeats."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sightline.demo.terms import Term, term

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """A plant: its city, and the demonym people use for it."""

    city: str
    people: str

    def name_for(self, company: Company) -> Term:
        """The plant as a term; asked by city or by country, always with its company."""
        who = company.short
        trade = company.name.asked[-1].removeprefix("our ").removeprefix("the ")
        return Term(
            f"{self.city} works",
            (
                f"{who}'s {self.people} plant",
                f"the {self.people} factory of the {trade}",
                f"{who} {self.city}",
            ),
        )


@dataclass(frozen=True)
class Company:
    """One company of the group, with its trade, plants, colours and mark."""

    short: str
    full: str
    trade: str
    name: Term
    sites: tuple[Site, ...]
    colour: str
    accent: str
    mark: str


@dataclass(frozen=True)
class Product:
    """A machine with a manual; products of the group are called after birds. ``bulk``: 0 small, 1 large."""

    name: str
    machine: Term
    company: Company
    shape: str
    bulk: float

    @property
    def term(self) -> Term:
        """The product, asked by name or by what it is."""
        short = self.name.split()[0]
        return Term(self.name, (f"the {short}", self.name, *(f"the {word}" for word in self.machine.asked)))


def _company(line: str) -> Company:
    short, rest, trade, asked, sites, colour, accent, mark = (piece.strip() for piece in line.split(";"))
    plants = tuple(Site(*place.strip().split("/")) for place in sites.split(","))
    # People mostly say the name, now and then what the company makes.
    name = Term(short, (short, short, *(word.strip() for word in asked.split(","))))
    return Company(short, f"{short} {rest}", trade, name, plants, colour, accent, mark)


COMPANIES: tuple[Company, ...] = tuple(
    _company(line)
    for line in """
Corvane;Pumps;centrifugal and dosing pumps;the pump maker,our pump business;Aarhus/Danish,Gdynia/Polish,Porto/Portuguese;#0b4f6c;#f2a541;drop
Ellisfjord;Marine;deck winches and steering gear;the ship equipment company,our deck machinery arm;Bergen/Norwegian,Rijeka/Croatian,Busan/Korean;#12355b;#d72638;anchor
Brightwell;Optics;lenses and inspection cameras;the lens and camera company,our optics firm;Jena/German,Leeds/British,Penang/Malaysian;#4b2e83;#ffb81c;rings
Maren;Bakery Systems;ovens and dough lines;the bakery equipment firm,our oven builder;Odense/Danish,Parma/Italian,Lyon/French;#8c2f39;#e9b872;wheat
Tolvane;Textiles;sail cloth and filter fabrics;the fabric weaver,our cloth mill;Ghent/Belgian,Braga/Portuguese,Izmir/Turkish;#5f0f40;#0f8b8d;weave
Osterby;Heat;heat pumps and storage tanks;the home heating company,our heat pump arm;Malmö/Swedish,Linz/Austrian,Tallinn/Estonian;#b23a48;#3d5a80;flame
Quillon;Instruments;laboratory balances and centrifuges;the laboratory instrument maker,our lab device firm;Basel/Swiss,Cork/Irish,Brno/Czech;#1b4332;#95d5b2;scale
Rasmund;Rail;doors and brakes for trains;the railway supplier,our train door firm;Turku/Finnish,Bilbao/Spanish,Pune/Indian;#343a40;#e36414;track
Velling;Packaging;labelling and cartoning machines;the packaging machine company,our box machine arm;Utrecht/Dutch,Bologna/Italian,Kaunas/Lithuanian;#006d77;#e29578;box
Nordrey;Cables;subsea and industrial cables;the cable manufacturer,our wire business;Trondheim/Norwegian,Hull/British,Riga/Latvian;#14213d;#fca311;coil
Halvard;Timber;laminated beams and fire doors;the wood products company,our timber arm;Umeå/Swedish,Maribor/Slovenian,Halifax/Canadian;#386641;#bc6c25;tree
Sorrel;Care;hospital beds and patient lifts;the hospital furniture maker,our care bed firm;Eindhoven/Dutch,Galway/Irish,Graz/Austrian;#276fbf;#f06543;cross
""".strip().splitlines()
)


def _product(line: str) -> Product:
    name, machine, company, shape, bulk = (piece.strip() for piece in line.split(";"))
    owner = next(item for item in COMPANIES if item.short == company)
    return Product(name, term(machine.replace("/", "|")), owner, shape, float(bulk))


PRODUCTS: tuple[Product, ...] = tuple(
    _product(line)
    for line in """
Tern 40;dosing pump/chemical metering pump;Corvane;line;0.2
Gannet 12;drainage pump/sump pump for wet pits;Corvane;line;0.15
Dunlin 600;deck oven/bread oven;Maren;tower;1
Plover 3;spiral mixer/dough kneader;Maren;tower;0.6
Siskin 24;bench centrifuge/tabletop spinner for tubes;Quillon;ring;0.1
Wren 220;analytical balance/high-precision lab scale;Quillon;tower;0.05
Eider 9;air-to-water heat pump/outdoor house heating unit;Osterby;ring;0.5
Grebe 500;buffer tank/hot water store;Osterby;tower;0.6
Linnet 5;label applicator/sticker machine for bottles;Velling;line;0.3
Knot 80;cartoner/box packing machine;Velling;line;1
Merlin 7;inspection camera/optical quality checker;Brightwell;ring;0.1
Petrel 2;sliding door drive/train door actuator;Rasmund;line;0.2
Fulmar 30;mooring winch/rope hauling gear for ships;Ellisfjord;ring;1
Avocet 4;patient lift/hoist for moving the sick;Sorrel;tower;0.3
Curlew 8;hospital bed/adjustable ward bed;Sorrel;line;0.5
Skua 6;cable stripping bench/wire peeling station;Nordrey;ring;0.3
Godwit 15;needle loom/felt punching machine;Tolvane;line;1
Bittern 2;beam press/gluing press for wood;Halvard;tower;1
""".strip().splitlines()
)

_FIRST = [
    "Maja",
    "Jonas",
    "Ingrid",
    "Pavel",
    "Leonor",
    "Tomasz",
    "Birgit",
    "Anders",
    "Chiara",
    "Duncan",
    "Elif",
    "Farid",
    "Greta",
    "Henrik",
    "Isabel",
    "Jakub",
    "Katrin",
    "Lars",
    "Mirela",
    "Niamh",
    "Oskar",
    "Petra",
    "Quentin",
    "Rosa",
    "Stefan",
    "Tilda",
    "Umberto",
    "Vera",
    "Wojciech",
    "Yara",
    "Zoran",
    "Agnes",
    "Bruno",
    "Celeste",
    "Dario",
    "Edda",
    "Fionn",
    "Gisela",
    "Hugo",
    "Irina",
    "Janek",
    "Kaisa",
    "Ludovic",
    "Marta",
    "Nikolai",
    "Odile",
    "Piotr",
    "Runa",
    "Silvio",
    "Thea",
    "Viktor",
    "Wilma",
    "Astrid",
    "Benedikt",
    "Carla",
    "Dimitri",
    "Esther",
    "Frida",
    "Gustav",
    "Hanne",
]
_LAST = [
    "Holt",
    "Brandvold",
    "Kowalczyk",
    "Ferreira",
    "Lindqvist",
    "Moretti",
    "Okafor",
    "Ravn",
    "Sauer",
    "Tveit",
    "Underhill",
    "Vasquez",
    "Wiberg",
    "Yilmaz",
    "Zeller",
    "Aaltonen",
    "Bergström",
    "Castellan",
    "Dufour",
    "Eklund",
    "Fairclough",
    "Grabowski",
    "Hartmann",
    "Iversen",
    "Jansma",
    "Kerrigan",
    "Lehtonen",
    "Marchetti",
    "Novak",
    "Ostrowski",
    "Pettersen",
    "Quist",
    "Rasmussen",
    "Silveira",
    "Thorsen",
    "Ulrich",
    "Vermeer",
    "Wachter",
    "Abbott",
    "Bjornson",
    "Cassidy",
    "Dragan",
    "Engel",
    "Fossum",
    "Gallo",
    "Haugen",
    "Ibsen",
    "Jelinek",
    "Kallas",
    "Lorentz",
    "Mulder",
    "Nygaard",
    "Osborne",
    "Prohaska",
    "Reinholt",
    "Sorensen",
    "Tanner",
    "Varga",
    "Westby",
    "Zimmer",
]


@dataclass
class World:
    """A seeded bag of choices shared by all documents, so that persons and code names never repeat."""

    rng: random.Random
    _people: list[str] = field(default_factory=list)
    _drawn: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        firsts, lasts = list(_FIRST), list(_LAST)
        names: list[str] = []
        for shift in range(20):
            # Shifted pairing: a surname comes back, a full name never does.
            names.extend(f"{first} {lasts[(i + 7 * shift) % len(lasts)]}" for i, first in enumerate(firsts))
        self.rng.shuffle(names)
        self._people = list(dict.fromkeys(names))

    def person(self) -> str:
        """A full name nobody else in the collection bears."""
        return self._people.pop()

    def fresh(self, pool: str, items: Sequence[T], count: int = 1) -> list[T]:
        """``count`` items of ``items``, avoiding those this pool gave before until all were given."""
        drawn = self._drawn.setdefault(pool, set())
        chosen: list[T] = []
        for _ in range(count):
            taken = {str(item) for item in chosen}
            left = [item for item in items if str(item) not in drawn and str(item) not in taken]
            if not left:
                drawn.clear()
                left = [item for item in items if str(item) not in taken]
            item = self.rng.choice(left)
            drawn.add(str(item))
            chosen.append(item)
        return chosen

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items in random order."""
        return self.rng.sample(list(items), min(count, len(items)))

    def day(self, year: int, month: int | None = None) -> str:
        """A date such as ``14 March 2022``."""
        month = month or self.rng.randint(1, 12)
        return f"{self.rng.randint(1, 28)} {MONTHS[month - 1]} {year}"


MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
