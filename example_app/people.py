"""The people and shops of the demo. All invented."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from example_app.models import (
    Account,
    Activity,
    Booking,
    BookingState,
    Charge,
    ChargeState,
    Plan,
    Role,
    Standing,
    Tracker,
    User,
)

PASSWORD = "demo"
PLANS = (
    Plan(code="solo", name="Solo", monthly=1900, bikes=12, seats=2),
    Plan(code="shop", name="Shop", monthly=4900, bikes=40, seats=6),
    Plan(code="fleet", name="Fleet", monthly=11900, bikes=200, seats=20),
)
TEAM = (("mina@demo.example", "Mina Park"), ("omar@demo.example", "Omar Siddiqui"))


@dataclass(frozen=True, slots=True)
class Shop:
    """A bike-hire shop as the seeds describe it.

    Args:
        months: how long it has been a customer.
        trackers: (bike, battery in percent, hours since it was last heard).
        orders: (months ago, pence, what) beside the monthly plan.
    """

    slug: str
    name: str
    town: str
    zone: str
    plan: str
    months: int
    bikes: int
    people: tuple[tuple[str, str], ...]
    standing: Standing = Standing.ACTIVE
    trackers: tuple[tuple[str, int, float], ...] = ()
    orders: tuple[tuple[int, int, str], ...] = ()
    seats: int = field(default=2)


SHOPS = (
    Shop(
        "lockside",
        "Lockside Cycles",
        "Bath",
        "Europe/London",
        "shop",
        19,
        31,
        (("tess@demo.example", "Tess Halloran"),),
        seats=5,
        trackers=(
            ("Dutch step-through 04", 88, 0.1),
            ("Dutch step-through 09", 71, 0.3),
            ("Cargo bike 1", 42, 1.2),
            ("E-bike 12", 8, 31.0),
        ),
        orders=((5, 15600, "4 trackers"),),
    ),
    Shop(
        "nazare",
        "Velo Nazaré",
        "Nazaré",
        "Europe/Lisbon",
        "shop",
        14,
        24,
        (("duarte@demo.example", "Duarte Freitas"),),
        seats=3,
        trackers=(("E-bike 3", 64, 0.4), ("Cruiser 11", 93, 0.2)),
        orders=((8, 7800, "2 trackers"),),
    ),
    Shop(
        "kanaal",
        "Kanaalfietsen",
        "Utrecht",
        "Europe/Amsterdam",
        "fleet",
        27,
        118,
        (("sanne@demo.example", "Sanne de Wit"), ("bram@demo.example", "Bram Visser")),
        seats=13,
        trackers=(
            ("Omafiets 022", 77, 0.1),
            ("Omafiets 047", 55, 0.2),
            ("Bakfiets 3", 81, 0.6),
            ("Omafiets 101", 34, 3.0),
        ),
        orders=((4, 34000, "10 trackers"),),
    ),
    Shop(
        "reservoir",
        "Ridge & Reservoir",
        "Bakewell",
        "Europe/London",
        "shop",
        9,
        28,
        (("callum@demo.example", "Callum Birch"),),
        seats=4,
        trackers=(("Mountain bike 7", 90, 0.3), ("Mountain bike 8", 86, 0.5)),
        orders=((3, 7800, "2 trackers"),),
    ),
    Shop(
        "whitby",
        "Harbour Wheels",
        "Whitby",
        "Europe/London",
        "solo",
        7,
        11,
        (("nadia@demo.example", "Nadia Rahman"),),
        seats=1,
    ),
    Shop(
        "foehr",
        "Inselrad Föhr",
        "Wyk auf Föhr",
        "Europe/Berlin",
        "shop",
        16,
        40,
        (("jette@demo.example", "Jette Petersen"),),
        seats=6,
        trackers=(("Tandem 2", 69, 0.8),),
        orders=((10, 3900, "1 tracker"),),
    ),
    Shop(
        "twobridges",
        "Two Bridges Bike Hire",
        "York",
        "Europe/London",
        "solo",
        11,
        9,
        (("owen@demo.example", "Owen Pritchard"),),
        standing=Standing.PAST_DUE,
    ),
    Shop(
        "coastline",
        "Coastline E-Bikes",
        "Newquay",
        "Europe/London",
        "fleet",
        22,
        64,
        (("morwenna@demo.example", "Morwenna Trease"),),
        seats=8,
        trackers=(
            ("E-bike 21", 61, 74.0),
            ("E-bike 22", 58, 74.2),
            ("E-bike 30", 49, 73.5),
            ("E-bike 31", 80, 0.2),
        ),
        orders=((4, 11900, "3 trackers and a cable kit"),),
    ),
    Shop(
        "pedalpour",
        "Pedal & Pour",
        "Leeds",
        "Europe/London",
        "solo",
        5,
        8,
        (("dele@demo.example", "Dele Adebayo"), ("femi@demo.example", "Femi Adebayo")),
    ),
    Shop(
        "lochloop",
        "Loch Loop Hire",
        "Aberfeldy",
        "Europe/London",
        "shop",
        20,
        36,
        (("isla@demo.example", "Isla Drummond"),),
        seats=4,
        trackers=(("Gravel 5", 38, 2.2), ("Gravel 6", 41, 2.4)),
        orders=((9, 7800, "2 trackers"),),
    ),
    Shop(
        "lario",
        "Cicli Lario",
        "Como",
        "Europe/Rome",
        "shop",
        12,
        22,
        (("giulia@demo.example", "Giulia Ferrante"), ("paolo@demo.example", "Paolo Ferrante")),
        seats=3,
        trackers=(("E-bike 6", 74, 0.5), ("E-bike 7", 66, 71.0)),
        orders=((6, 8700, "2 trackers and a cable kit"),),
    ),
    Shop(
        "marshbarn",
        "Marsh Barn Bikes",
        "Rye",
        "Europe/London",
        "shop",
        0,
        14,
        (("graham@demo.example", "Graham Teale"),),
        standing=Standing.TRIAL,
        seats=2,
    ),
)

# Rider, bikes, hour of pick-up, hours out: a day at a shop.
_DAY = (
    ("Anke Rademaker", "2 city bikes", 9, 3),
    ("Joel Okafor", "1 e-bike", 9, 8),
    ("The Whitlow family", "2 city bikes, 2 children's bikes", 10, 5),
    ("Marit Solberg", "1 cargo bike", 11, 4),
    ("Luis Cabral", "1 e-bike", 13, 3),
    ("Hen party, Beth", "6 city bikes", 14, 3),
    ("Sofia Marques", "1 e-bike, two days", 16, 42),
)


def add_everybody(session: Session, now: datetime) -> int:
    """Add the plans, the team and the shops that are missing.

    Returns:
        How many shops and team members were added.
    """
    plans = {plan.code: plan for plan in session.scalars(select(Plan))}
    for plan in PLANS:
        if plan.code not in plans:
            plans[plan.code] = Plan(
                code=plan.code, name=plan.name, monthly=plan.monthly, bikes=plan.bikes, seats=plan.seats
            )
            session.add(plans[plan.code])
    added = 0
    for email, name in TEAM:
        if session.scalar(select(User).filter_by(email=email)) is None:
            session.add(_person(email, name, Role.OPERATOR, None))
            added += 1
    for shop in SHOPS:
        if session.scalar(select(Account).filter_by(slug=shop.slug)) is None:
            _open_shop(session, shop, plans[shop.plan], now)
            added += 1
    return added


def _person(email: str, name: str, role: Role, account: Account | None) -> User:
    user = User(email=email, name=name, role=role, account=account)
    user.set_password(PASSWORD)
    return user


def _open_shop(session: Session, shop: Shop, plan: Plan, now: datetime) -> None:
    charge_day = 3 + len(shop.slug) % 9
    joined = _months_before(now.date(), shop.months).replace(day=charge_day)
    if shop.standing is Standing.TRIAL:
        joined = now.date() - timedelta(days=24)
    account = Account(
        slug=shop.slug,
        name=shop.name,
        town=shop.town,
        time_zone=shop.zone,
        plan=plan,
        standing=shop.standing,
        seats_used=shop.seats,
        bikes=shop.bikes,
        joined_on=joined,
        next_charge_on=_next_charge(now.date(), charge_day),
    )
    session.add(account)
    session.add_all(_person(email, name, Role.CUSTOMER, account) for email, name in shop.people)
    session.flush()
    session.add_all(_charges(shop, account, plan, charge_day, now))
    session.add_all(
        Tracker(
            serial=f"SK-{40000 + account.id * 137 + number}",
            account_id=account.id,
            bike=bike,
            battery=battery,
            last_seen_at=now - timedelta(hours=hours),
        )
        for number, (bike, battery, hours) in enumerate(shop.trackers, start=1)
    )
    session.add_all(_bookings(shop, account, now))
    session.add(
        Activity(
            key=f"joined:{shop.slug}",
            account_id=account.id,
            text=f"{shop.people[0][1]} opened the shop",
            happened_at=datetime(joined.year, joined.month, joined.day, 10, 5, tzinfo=UTC),
        )
    )


def _charges(shop: Shop, account: Account, plan: Plan, day: int, now: datetime) -> list[Charge]:
    """The plan of each of the last months, and what was ordered beside it."""
    if shop.standing is Standing.TRIAL:
        return []
    found = []
    for months in range(min(shop.months, 8), -1, -1):
        on = _months_before(now.date(), months).replace(day=day)
        if on > now.date():
            continue
        unpaid = shop.standing is Standing.PAST_DUE and (now.date() - on).days < 31
        found.append(_charge(f"{shop.slug}-{on:%Y%m}", account, plan.monthly, f"{plan.name} plan", on, unpaid))
    for months, amount, what in shop.orders:
        on = _months_before(now.date(), months).replace(day=day)
        found.append(_charge(f"{shop.slug}-{on:%Y%m}-order", account, amount, what, on, failed=False))
    return found


def _charge(reference: str, account: Account, amount: int, what: str, on: date, failed: bool) -> Charge:
    return Charge(
        reference=reference.upper(),
        account_id=account.id,
        amount=amount,
        description=what,
        state=ChargeState.FAILED if failed else ChargeState.PAID,
        charged_at=datetime(on.year, on.month, on.day, 6, 12, tzinfo=UTC),
    )


def _bookings(shop: Shop, account: Account, now: datetime) -> list[Booking]:
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for number, (rider, bikes, hour, hours) in enumerate(_DAY, start=1):
        starts, ends = day + timedelta(hours=hour), day + timedelta(hours=hour + hours)
        state = BookingState.BOOKED if starts > now else BookingState.BACK if ends < now else BookingState.OUT
        found.append(
            Booking(
                code=f"{shop.slug[:4].upper()}{day:%m%d}-{number}",
                account_id=account.id,
                rider=rider,
                bikes=bikes,
                starts_at=starts,
                ends_at=ends,
                state=state,
            )
        )
    return found


def _months_before(day: date, months: int) -> date:
    """The first of the month that many months before."""
    total = day.year * 12 + day.month - 1 - months
    return date(total // 12, total % 12 + 1, 1)


def _next_charge(today: date, day: int) -> date:
    this_month = today.replace(day=day)
    return this_month if this_month > today else _months_before(today, -1).replace(day=day)
