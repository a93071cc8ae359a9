"""What people wrote and did in the last months, told in steps that the seeds play through the product's own services.

``when`` is how long ago: ``"34d 10:12"`` is that day at that time (UTC), ``"1h 25m"`` counts back from now.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Message, Priority
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import Policy, Rule

_NAMESPACE = uuid.UUID("5b1f1d8e-5d0a-4a3c-9c53-1f5f4b0f6a11")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened in a conversation."""

    when: str


@dataclass(frozen=True, slots=True)
class Ask(Step):
    """The customer writes; the desk then makes its draft by itself, or fails to where its engine is away."""

    body: str
    engine_away: bool = False


@dataclass(frozen=True, slots=True)
class Reply(Step):
    by: str
    body: str


@dataclass(frozen=True, slots=True)
class Note(Step):
    by: str
    body: str


@dataclass(frozen=True, slots=True)
class Approve(Step):
    """The operator sends the draft: as it stands, or with a last paragraph of their own.

    ``otherwise`` is what they write themselves when the desk had no draft that could be sent, as happens where the
    embedding model is not installed. ``asks_back``: the draft to send is a question.
    """

    by: str
    otherwise: str
    after: str = ""
    asks_back: bool = False


@dataclass(frozen=True, slots=True)
class Discard(Step):
    """The operator throws the draft away, for one of the desk's reasons."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Assign(Step):
    by: str
    to: str


@dataclass(frozen=True, slots=True)
class Triage(Step):
    """The operator says how urgent it is and what it is about."""

    by: str
    tags: tuple[str, ...] = ()
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class Snooze(Step):
    """The operator puts it off until so many days later."""

    by: str
    days: int


@dataclass(frozen=True, slots=True)
class Resolve(Step):
    by: str


@dataclass(frozen=True, slots=True)
class Reopen(Step):
    by: str


@dataclass(frozen=True, slots=True)
class Seen(Step):
    """The customer reads what there is."""


@dataclass(frozen=True, slots=True)
class Rate(Step):
    rating: int
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation. ``slug`` and the place of a step name it for good: they are the seeds' natural key."""

    slug: str
    customer: str
    subject: str
    steps: tuple[Step, ...]


# What the desk promises by priority, in hours: a first answer, the next ones, and an end. Round the clock, so that the
# demo shows the same on every day; a desk with people in it would keep business hours.
PROMISES = Policy(
    targets={
        priority: {
            target: timedelta(hours=hours) for target, hours in zip(Target, amounts, strict=True) if hours is not None
        }
        for priority, amounts in {
            Priority.URGENT: (0.5, 1, 8),
            Priority.HIGH: (2, 3, 24),
            Priority.NORMAL: (3, 6, None),
            Priority.LOW: (24, 24, None),
        }.items()
    },
    rule=Rule.NOTIFY,
)
PROMISED_SINCE = timedelta(hours=5, minutes=20)

MINA, OMAR = "mina@demo.example", "omar@demo.example"
# The team's macros: name, text, what is done when it is sent.
MACROS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Thanks, all done",
        "Hi {{customer.first_name}},\n\nglad that it works again. Just write back here if it does not.\n\n"
        "{{operator.first_name}}",
        ("resolve",),
    ),
    (
        "Looking into it",
        "Hi {{customer.first_name}},\n\nI am looking into it for {{customer.organization}} and will write here as soon "
        "as I know more. Our number for this is {{conversation.id}}.\n\n{{operator.first_name}}",
        ("assign", "priority:high"),
    ),
)

# Name, subject, text, and whether the customer's reply cancels one that has not left.
TEMPLATES: tuple[tuple[str, str, str, bool], ...] = (
    (
        "Did it help?",
        "About {{conversation.subject}}",
        "Hi {{customer.first_name}},\n\nwe spoke about “{{conversation.subject}}” a while ago. Is everything as it "
        "should be? If not, just answer here.\n\n{{operator.first_name}}",
        True,
    ),
    (
        "Trackers before the season",
        "Your trackers, before the season",
        "Hello {{customer.first_name}},\n\nthe season begins soon. Please charge the trackers of "
        "{{customer.organization}} once and look under Fleet whether each of them is connected.\n\n{{operator.name}}",
        False,
    ),
)
# Whom the second one was sent to, by the slugs of their conversations: when, and by whom.
SENT = ("20d 09:30", "omar@demo.example", ("dead-trackers", "button-cached", "charged-twice"))

TALKS = (
    # --- the past months, resolved ---------------------------------------------------------------------------------
    Talk(
        "button-cached",
        "sanne@demo.example",
        "Booking button does not appear on our website",
        (
            Ask(
                "135d 09:20",
                "I pasted the line for the booking button into WordPress, but the button does not appear on the page.",
            ),
            Approve(
                "135d 09:41",
                MINA,
                otherwise="Hello Sanne, the address of your website may be missing under Settings › Website › Allowed "
                "addresses. If it is there, empty the cache of WordPress and look again.",
            ),
            Seen("135d 09:44"),
            Ask("135d 09:58", "It was the cache plugin. There it is now, and it looks good. Thank you!"),
            Reply("135d 10:03", MINA, "Lovely. I have tried a booking from here and it reached your calendar."),
            Resolve("135d 10:03", MINA),
            Rate("135d 10:20", 5),
        ),
    ),
    Talk(
        "charged-twice",
        "morwenna@demo.example",
        "Charged twice in one month",
        (
            Ask(
                "120d 17:52",
                "You have charged us twice on the same day this month, 119.00 and again 119.00. "
                "We only have one plan. Can you send the second payment back?",
            ),
            Note(
                "119d 09:15",
                OMAR,
                "Both are right: the Fleet plan, and the order of 3 trackers with a cable kit that happens to come to "
                "the same amount. Checked in the customer panel.",
            ),
            Discard("118d 10:02", OMAR, "wrong"),
            Reply(
                "118d 10:06",
                OMAR,
                "Hello Morwenna, I looked at both payments. The first 119.00 is your Fleet plan. The second is your "
                "order from the 2nd: three trackers at 39.00 and a cable kit, less the 7.00 that were left from your "
                "last exchange. Same sum, two different things, which is an unlucky coincidence. Both invoices are "
                "under Settings › Billing › Invoices.",
            ),
            Seen("118d 12:30"),
            Ask("118d 12:34", "I see it now. It would have been good to hear that two days ago."),
            Reply(
                "118d 12:41",
                OMAR,
                "You are right, that took too long. I have put 20.00 on your account for it.",
            ),
            Resolve("118d 12:42", OMAR),
            # A low rating opens it again.
            Rate("118d 13:15", 2, "Right answer, but two days is long when it is about money."),
            Reply(
                "118d 13:40",
                OMAR,
                "Thank you for saying so. From now on questions about payments go to the top of our list, and I have "
                "written down yours as the reason.",
            ),
            Seen("118d 14:00"),
            Resolve("118d 14:05", OMAR),
        ),
    ),
    Talk(
        "seasonal-staff",
        "tess@demo.example",
        "Seats for the summer staff",
        (
            Ask(
                "96d 08:35",
                "Do I have to delete my seasonal staff in autumn to get their seats back, or can they "
                "rest until spring?",
            ),
            Approve(
                "96d 08:52",
                MINA,
                otherwise="No need to delete anybody: press Rest beside the name under Settings › Staff, and the seat "
                "is free at once.",
            ),
            Seen("96d 08:55"),
            Ask("96d 09:01", "Ah, Rest is exactly what I was looking for."),
            Resolve("96d 09:10", MINA),
            Rate("96d 11:40", 5, "Fast, and the steps were right."),
        ),
    ),
    Talk(
        "accountant",
        "giulia@demo.example",
        "Which export does our accountant need?",
        (
            Ask(
                "82d 13:05",
                "Our accountant asks for an export of the payments every month for the VAT. Can that be "
                "sent by itself?",
            ),
            Approve(
                "82d 13:31",
                OMAR,
                otherwise="Turn on Every month under Reports › Export, for the payments export.",
                after="The role Accountant is free, so she can also look by herself.",
            ),
            Seen("82d 14:00"),
            Resolve("80d 09:00", OMAR),
        ),
    ),
    Talk(
        "seasons-overlap",
        "duarte@demo.example",
        "Two seasons overlap in August",
        (
            Ask(
                "71d 10:48",
                "How do two seasons that overlap decide the price? High summer and the festival week share four days.",
            ),
            Approve(
                "71d 11:20",
                MINA,
                otherwise="If two seasons overlap, the shorter one wins.",
                after="So your festival week sets the price on those four days.",
            ),
            Seen("71d 11:22"),
            Ask("71d 11:25", "And riders who have booked already, do they pay more now?"),
            Reply(
                "71d 11:33",
                MINA,
                "No. A new season changes nothing in bookings that exist; riders always pay what they saw.",
            ),
            Resolve("71d 11:34", MINA),
        ),
    ),
    Talk(
        "storm-refund",
        "nadia@demo.example",
        "Storm on Saturday, refund everybody",
        (
            Ask(
                "58d 07:14",
                "We have to close on Saturday because of the storm. How can I refund all the bookings of that day at "
                "once?",
            ),
            Approve(
                "58d 07:45",
                OMAR,
                otherwise="Open the calendar, choose Close day for Saturday and tick Refund bookings on this day.",
            ),
            Seen("58d 07:50"),
            Ask("58d 08:02", "Done, 14 riders. When will they see their money?"),
            Reply(
                "58d 08:10",
                OMAR,
                "After five to ten working days, on the card they paid with. The mail we sent them says so too.",
            ),
            Resolve("57d 09:30", OMAR),
            Rate("57d 18:05", 4),
        ),
    ),
    Talk(
        "lost-parcel",
        "jette@demo.example",
        "Tracker parcel has not arrived",
        (
            Ask("48d 09:30", "The tracker we ordered nine days ago is still not here. Where is the parcel?"),
            Assign("48d 09:48", OMAR, OMAR),
            Reply(
                "48d 09:52",
                OMAR,
                "Good morning Jette, the carrier says it waits for the ferry at Dagebüll since Tuesday because of the "
                "wind. It should cross tomorrow. I will look again at noon.",
            ),
            Resolve("48d 09:53", OMAR),
            Reopen("47d 12:05", OMAR),
            Note("47d 12:06", OMAR, "I closed this too early: I had promised to look at noon."),
            Reply("47d 12:11", OMAR, "It crossed this morning and is out for delivery with you today."),
            Seen("47d 13:20"),
            Ask("47d 15:40", "It is here! Thank you for thinking of it."),
            Resolve("47d 15:52", OMAR),
            Rate("47d 16:00", 5, "He kept his word about looking again."),
        ),
    ),
    Talk(
        "insurer-waivers",
        "femi@demo.example",
        "Waivers for the insurer",
        (
            Ask(
                "40d 14:10",
                "Our insurer wants all rider waivers from July to September. How do we export them?",
            ),
            Discard("40d 14:22", MINA, "incomplete"),
            Reply(
                "40d 14:30",
                MINA,
                "Hi Femi, the export is under Waivers › Export, but only managers and the owner can see it, and your "
                "sign-in has the role Counter. Ask Dele to make you a manager for the day, or to press Prepare "
                "himself: the mail with the link comes within ten minutes.",
            ),
            Seen("40d 14:41"),
            Resolve("39d 10:00", MINA),
            Rate("39d 10:12", 3, "Good answer, but I could not do it myself."),
        ),
    ),
    Talk(
        "dead-trackers",
        "callum@demo.example",
        "Mountain bike 7 never comes back online",
        (
            Ask("34d 08:05", "The tracker on mountain bike 7 shows Offline since Thursday."),
            Ask("34d 08:06", "I pressed the button, and there is no light at all. Is it broken?"),
            Assign("34d 08:30", MINA, MINA),
            Approve(
                "34d 08:31",
                MINA,
                otherwise="No light means that the battery is empty or the tracker is in transport mode. Please charge "
                "it for four hours, then hold the button for 8 seconds.",
            ),
            Seen("34d 08:40"),
            Ask("34d 13:20", "It has been charging for five hours now. Still no light."),
            Reply(
                "34d 13:34",
                MINA,
                "Thanks for trying. Please hold the button for 8 seconds while it is still plugged in, and tell me "
                "whether the light turns blue.",
            ),
            Seen("34d 13:36"),
            Ask("34d 13:49", "Blue for a moment, then nothing."),
            Note(
                "34d 14:02",
                MINA,
                "Blue and then dark is the charging circuit, like the four from the March delivery. "
                "Exchange without asking him for more tests.",
            ),
            Reply(
                "34d 14:05",
                MINA,
                "That tells me enough: the charging circuit is gone, and it is inside the two years of warranty. "
                "Could you send me the serial number from the back?",
            ),
            Seen("34d 14:06"),
            Ask("34d 14:15", "SK-40549"),
            Reply(
                "34d 14:21",
                MINA,
                "Thank you. A new one leaves today and should be with you in three working days. "
                "A return label for the old one is in the box.",
            ),
            Seen("34d 14:22"),
            Ask("31d 11:02", "Arrived and fitted. How do I keep the ride history of the bike?"),
            Approve(
                "31d 11:30",
                OMAR,
                otherwise="The ride history stays with the bike. Open the bike, press Add tracker and scan the code.",
            ),
            Seen("31d 11:31"),
            Ask("31d 11:45", "Clear. That is all, thanks to both of you."),
            Resolve("31d 11:50", MINA),
            Rate("31d 12:30", 5, "Nobody made me prove the obvious twice."),
        ),
    ),
    Talk(
        "new-phone",
        "isla@demo.example",
        "New phone, no codes",
        (
            Ask(
                "28d 16:12",
                "I have a new phone and my two-step codes are gone. I am the owner and have no recovery codes. "
                "How do I get back in?",
            ),
            Approve(
                "28d 16:30",
                OMAR,
                otherwise="We have to check who you are, by a call to the number of the business.",
                after="I can call the shop's number today until six, or tomorrow from nine.",
            ),
            Seen("28d 16:33"),
            Ask("28d 16:35", "Tomorrow at half past nine, please."),
            Note(
                "27d 09:41",
                OMAR,
                "Called 01887 number on file, Isla answered herself. Charge of 0.37 confirmed. Two-step reset.",
            ),
            Reply("27d 09:44", OMAR, "All confirmed. You can sign in now; please print the new recovery codes."),
            Seen("27d 09:46"),
            Ask("27d 09:58", "In, and printed."),
            Resolve("27d 10:00", OMAR),
            Rate("27d 20:10", 5, "I was annoyed by the call, then glad that you do it."),
        ),
    ),
    Talk(
        "first-colleague",
        "graham@demo.example",
        "Inviting a colleague",
        (
            Ask("20d 19:44", "How do I invite a colleague so that she can check bikes out at the counter?"),
            Seen("20d 19:45"),
            Ask("20d 20:02", "Found it, she is in."),
            Resolve("19d 09:05", MINA),
            Rate("19d 09:30", 5, "Answered on a Sunday evening."),
        ),
    ),
    # --- this week: it is their turn -------------------------------------------------------------------------------
    Talk(
        "counter-stuck",
        "tess@demo.example",
        "Screen at the counter",
        (
            Ask("4d 09:02", "The screen at the counter is stuck, what now?"),
            Approve(
                "4d 09:07",
                OMAR,
                otherwise="Hi Tess, is it the sign-in that asks again and again, or does a booking hang?",
                asks_back=True,
            ),
            Seen("4d 09:30"),
        ),
    ),
    Talk(
        "overlap",
        "callum@demo.example",
        "Same bike booked twice on Saturday",
        (
            Ask("3d 15:20", "Mountain bike 12 has two bookings on Saturday at 10. How can that happen?"),
            Assign("3d 15:31", OMAR, OMAR),
            Reply(
                "3d 15:40",
                OMAR,
                "The history of the second booking says that Lewis placed it by hand at 14:58, after a warning. "
                "I have looked: bike 14 is the same size and free all day. Shall I move the second booking to it?",
            ),
            Seen("3d 18:02"),
            Triage("3d 15:41", OMAR, tags=("double booking",)),
            Snooze("1h 40m", OMAR, days=2),
        ),
    ),
    Talk(
        "vat",
        "jette@demo.example",
        "Our VAT number on the invoices",
        (
            Ask(
                "2d 10:12",
                "Our invoices still have German VAT on them. We have a valid VAT number. Where do we enter it, and can "
                "you correct the old invoices?",
            ),
            Assign("2d 10:40", MINA, MINA),
            Approve(
                "2d 10:44",
                MINA,
                otherwise="Enter the number under Settings › Billing › VAT number, with the country letters.",
                after="If you send me the numbers of the last three invoices, I will write the credit notes today.",
            ),
            Seen("2d 12:15"),
            Triage("2d 12:20", MINA, tags=("billing",)),
        ),
    ),
    Talk(
        "failed-payout",
        "duarte@demo.example",
        "Payout failed",
        (
            Ask(
                "1d 08:50",
                "Our payout failed and the bank says the account number was refused. What do I have to do to get the "
                "money?",
            ),
            Approve(
                "1d 09:12",
                OMAR,
                otherwise="Open Payments › Bank account, enter the account again and press Try again.",
            ),
            Seen("1d 09:30"),
            Triage("1d 09:31", OMAR, tags=("payout",), priority=Priority.HIGH),
        ),
    ),
    Talk(
        "trial-turnaround",
        "graham@demo.example",
        "Time between two rides",
        (Ask("1d 20:25", "Where do I change the turnaround time between two rides?"), Seen("1d 20:26")),
    ),
    # --- today: it is our turn -------------------------------------------------------------------------------------
    Talk(
        "invoice-again",
        "sanne@demo.example",
        "Invoices to our accountant",
        (
            Ask("6d 11:15", "Can our invoices go to the accountant as well, and not only to me?"),
            Approve(
                "6d 11:40",
                MINA,
                otherwise="Yes: open Settings › Billing and press Change beside Invoices go to.",
            ),
            Seen("6d 11:41"),
            Ask("6d 11:50", "Done. Bedankt!"),
            Resolve("6d 11:55", MINA),
            Rate("6d 12:00", 4),
            Ask("5h 5m", "She got the new one today. How do I send her the old invoices too?"),
            Triage("4h 50m", MINA, tags=("billing",)),
        ),
    ),
    Talk(
        "maps",
        "giulia@demo.example",
        "Printed maps of the lake",
        (
            Ask(
                "3h 10m",
                "We need printed cycling maps of the lake in four languages for our guests. Do you offer such a thing?",
            ),
            Assign("2h 50m", OMAR, MINA),
            Note(
                "2h 48m",
                OMAR,
                "@Mina Park, did we not talk to a printer in Milan in spring? I found nothing written down.",
            ),
        ),
    ),
    Talk(
        "weekend-price",
        "paolo@demo.example",
        "Weekend price on a Thursday",
        (
            Ask(
                "2h 40m",
                "The booking page shows the weekend price for Thursday, although we only switched it on for Saturday.",
                engine_away=True,
            ),
        ),
    ),
    Talk(
        "wix",
        "femi@demo.example",
        "Booking button on Wix",
        (
            Ask(
                "2h 20m",
                "Hello! I pasted the booking button into our Wix site with Embed HTML and it does not appear.",
            ),
            Assign("2h 5m", MINA, MINA),
        ),
    ),
    Talk(
        "read-only",
        "owen@demo.example",
        "Account is read-only",
        (
            Ask(
                "1h 50m",
                "My card was replaced and the payment failed. Now the account is read-only and nobody can book. "
                "How can I pay at once?",
            ),
            Triage("1h 45m", OMAR, tags=("billing",), priority=Priority.HIGH),
        ),
    ),
    Talk(
        "container",
        "morwenna@demo.example",
        "Three trackers offline",
        (
            Ask("1h 25m", "Three of our trackers show Offline since Thursday."),
            Ask(
                "1h 23m",
                "The bikes stand in the steel container. Are the trackers broken, do we have to exchange them?",
            ),
            Assign("1h 2m", OMAR, OMAR),
            Triage("1h 1m", OMAR, tags=("trackers",)),
        ),
    ),
    Talk(
        "winter",
        "isla@demo.example",
        "Closing until Easter",
        (
            Ask(
                "47m",
                "We close next week and open again at Easter. Can we pause the plan for the winter, what does it cost?",
            ),
        ),
    ),
    Talk(
        "crash",
        "bram@demo.example",
        "Rider hurt this morning",
        (
            Ask(
                "35m",
                "A rider crashed on one of our bakfietsen this morning and is in hospital. Her husband asks for the "
                "signed waiver. What do I do?",
            ),
            Assign("31m", OMAR, MINA),
            Note("30m", OMAR, "@Mina Park, this one is yours. I have pressed Keep for insurer on the booking."),
            Triage("29m", OMAR, tags=("accident",), priority=Priority.HIGH),
        ),
    ),
    Talk(
        "vague",
        "nadia@demo.example",
        "Payment",
        (Ask("22m", "Something is wrong with the payment of a booking, can you have a look?"),),
    ),
    Talk(
        "blocked-deposit",
        "tess@demo.example",
        "Deposit still blocked on a rider's card",
        (
            Ask(
                "9m",
                "A rider brought his bike back yesterday, and he says the deposit is still blocked on his card. "
                "How long does it take until he sees the money after we release the hold?",
            ),
        ),
    ),
)


def client_id(slug: str, place: int) -> uuid.UUID:
    """The id that a message of the story carries, the same in every run."""
    return uuid.uuid5(_NAMESPACE, f"{slug}/{place}")


def conversation_id(session: Session, slug: str) -> int | None:
    """The conversation that a talk became; ``None`` when it has not been played."""
    return session.scalar(select(Message.conversation_id).where(Message.client_id == client_id(slug, 0)))


# What visitors of the help centre looked for in vain: several things, each asked by several in words of their own.
SEARCHES = (
    ("21d 09:14", "Can I print a label for the bike when a customer drops it off?"),
    ("15d 16:40", "print a tag with the job number for each bike"),
    ("9d 11:02", "label printer for drop off tickets"),
    ("4d 08:33", "how to print job labels for bikes"),
    ("2d 13:20", "Which label printer works for job tickets?"),
    ("18d 10:11", "Does it connect to my card reader at the counter?"),
    ("12d 15:25", "card terminal at the counter, which ones work"),
    ("6d 17:48", "pair a card reader with the till"),
    ("1d 09:05", "take card payments at the counter with a terminal"),
    ("11d 14:00", "Can customers leave a tip when they pay online?"),
    ("5d 12:31", "tips on online payments"),
    ("3d 18:09", "add a tip to the payment link"),
    ("8d 10:45", "Is there an app for mechanics on Android?"),
    ("2d 07:58", "android app for the workshop"),
    ("7d 16:16", "How do I move all our data from another booking system?"),
)
