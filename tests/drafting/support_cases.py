"""Statements about articles, written by hand: some are borne out by the article, some are not.

Thresholds were chosen by the cases about the library; those about the bicycle rental were looked at once before the
rules were final. ``python -m tests.drafting.support_cases`` prints the figures and what went wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import frontmatter

from flask_cairnloop.drafting.support import Backing, Nearness, Text, by_vectors, shared_words, weigh
from flask_cairnloop.retrieval.local import default_embedder
from tests.support.processes import ROOT

LIBRARY = ROOT / "tests" / "retrieval" / "data" / "library" / "corpus.jsonl"
RENTAL = ROOT / "example_app" / "knowledge"


@dataclass(frozen=True)
class Case:
    article: str
    statement: str
    true: bool


def _cases(written: str) -> list[Case]:
    """Lines like ``+ article | statement`` (borne out) and ``- article | statement`` (not)."""
    found = []
    for line in written.strip().splitlines():
        mark, rest = line[0], line[1:]
        article, statement = rest.split("|", 1)
        found.append(Case(article.strip(), statement.strip(), mark == "+"))
    return found


ON_THE_LIBRARY = _cases("""
+ borrowing | You can keep books for four weeks.
+ borrowing | Films and games may stay with you for one week.
+ borrowing | A loan can be renewed twice, unless somebody else has reserved the item.
+ borrowing | The renewal is counted from the day on which you renew.
+ late-fees | Each day a book is late costs 0.20 EUR.
+ late-fees | The most you pay for a late item is 8 EUR.
+ late-fees | Children do not pay late fees.
+ late-fees | You can pay the fees online by card, or at the machine beside the entrance.
+ late-fees | If you owe more than 15 EUR you cannot borrow until you have paid.
+ lost-card | Block the card yourself under “Profile › Card › Block”, or call the front desk.
+ lost-card | A new card costs 5 EUR; please bring an identity document.
+ lost-card | We print the replacement while you wait.
+ reading-room | You can book a place for at most four hours a day.
+ reading-room | Places can be booked up to seven days ahead.
+ reading-room | Check in at the desk within 15 minutes, otherwise your place is given away.
+ ebooks | Unfortunately Kindle devices are not supported.
+ ebooks | Error E-4107 means the device was authorised with a different account.
+ ebooks | Sign out of Adobe Digital Editions and authorise it again with your library account's address.
+ password | Choose “Forgotten PIN” on the sign-in page and we send a link to your e-mail address.
+ password | The link works for one hour.
+ reservations | Your reservation is kept behind the counter for 7 days.
+ reservations | Reserving is free, but if you do not pick the item up it costs 1 EUR.
+ printing | Send the file to print@library.example, then release it at the printer with your card.
+ donations | We cannot collect the books from your home.
+ children | A child can have a card from the age of six, and it is free of charge.
+ closing-account | Your personal data is deleted after 30 days.
- borrowing | You can keep books for six weeks.
- borrowing | Books may stay with you for four days.
- borrowing | A loan cannot be renewed.
- borrowing | You can renew a loan as often as you like.
- borrowing | A renewal counts from the due date.
- late-fees | Children pay 0.20 EUR a day as well.
- late-fees | A late book costs 0.20 USD for each day.
- late-fees | Pay the fees by bank transfer.
- late-fees | We have cancelled your fees.
- late-fees | When you owe more than 15 EUR you can still borrow.
- lost-card | Everybody can still borrow with a blocked card.
- lost-card | You do not need to bring an identity document.
- lost-card | Unblock the card yourself under “Profile › Card › Block”.
- lost-card | Choose “Profile › Card › Freeze”.
- lost-card | The new card is sent to you by post.
- reading-room | Places are booked by the day.
- reading-room | Your place is kept even if you do not check in.
- reading-room | Call Ms Bergmann to book a place.
- ebooks | Kindle devices are supported.
- ebooks | Error E-4108 means the device was authorised with a different account.
- ebooks | Reset your device to factory settings.
- password | The link works for one day.
- password | Open https://reset.example/pin and type your new PIN.
- password | Your new PIN is 4711.
- reservations | A reservation costs 1 EUR.
- printing | Scanning to a USB stick is paid.
- printing | Send the file to printing@elsewhere.example.
- donations | We can collect the books from your home.
- donations | Bring your books on Mondays.
- donations | We take books that are more than ten years old.
- children | Children cannot get a card of their own.
- closing-account | Your reading history is kept after the end of your membership.
- closing-account | The library has six branches in the city.
- closing-account | We recommend buying a membership for your family.
""")

ON_THE_RENTAL = _cases("""
+ refunds | You can refund a payment for up to 180 days, in full or in part.
+ refunds | The money goes back to the card that paid and cannot go to a bank account.
+ refunds | Open “Bookings” and choose the booking you want to refund.
+ refunds | Press “Refund” in the payment box.
+ refunds | The rider sees the money after five to ten working days.
+ refunds | A refund is pending as long as the original payment is still on its way, normally two working days.
+ refunds | It is taken from your next payout.
+ refunds | A disputed payment cannot be refunded any more.
+ deposits | A deposit is a hold on the card of the rider and not a charge.
+ deposits | The hold is placed when you hand over the bike, not at the time of booking.
+ deposits | If you check in every bike, the hold is released automatically at midnight.
+ deposits | A prepaid card nearly always refuses a hold.
+ deposits | You can never charge more than the hold.
+ deposits | Most riders see the money on their card within three working days.
+ plans | A paused shop costs 5.00 a month.
+ plans | Press “Pause” and choose the day on which you open again.
+ plans | The pause can last from one to seven months.
+ plans | Move or refund the bookings that fall into the pause first.
+ plans | After closing the account you can export everything for 90 days, then it is deleted.
+ tracker-offline | Hold the button for 8 seconds until the light is blue.
+ tracker-offline | Take the bike outside, where it has a clear view of the sky.
+ tracker-offline | A full charge takes four hours.
+ tracker-offline | Do not charge a tracker that is wet inside.
+ tracker-offline | Trackers have a warranty of two years.
+ booking-button | The button only works on addresses listed under “Settings › Website › Allowed addresses”.
+ booking-button | On Wix, use “Embed › Custom element”, not “Embed HTML”.
- refunds | You can refund a payment for up to 90 days.
- refunds | The money can go to another card.
- refunds | Press “Cancel” in the payment box.
- refunds | The rider sees the money after five to ten minutes.
- refunds | Press Refund again while it is pending.
- refunds | A disputed payment can still be refunded.
- refunds | We will debit your bank account for the refund.
- refunds | We have already refunded you in full.
- refunds | Riders who booked several days get everything back.
- deposits | The hold is placed when the rider books.
- deposits | A deposit is charged to the card at once.
- deposits | You can charge from a deposit as often as you need.
- deposits | A prepaid card always accepts a hold.
- deposits | The amount can be more than the hold.
- deposits | A new amount applies to existing bookings as well.
- deposits | The hold is released manually at noon.
- plans | A paused shop costs 15.00 a month.
- plans | A yearly plan cannot be paused.
- plans | The pause starts at once.
- plans | Bookings that fall into the pause stay as they are.
- plans | You have to give three months' notice.
- tracker-offline | Hold the button for 80 seconds.
- tracker-offline | Always charge a tracker that is wet inside.
- tracker-offline | Send the old tracker back first.
- tracker-offline | Keep the bike indoors while you do this.
- tracker-offline | Buy a new battery at the hardware shop.
- tracker-offline | Delete the app and install it again.
- booking-button | The button works on every address.
- booking-button | On Wix, use “Embed HTML”, not “Embed › Custom element”.
- booking-button | Our partner Velomax offers a discount.
""")


@cache
def _articles() -> dict[str, Text]:
    found = {}
    for line in LIBRARY.read_text().splitlines():
        article = json.loads(line)
        found[article["_id"]] = Text(article["title"], article["text"])
    for path in RENTAL.glob("*.md"):
        post = frontmatter.loads(path.read_text())
        found[path.stem] = Text(str(post["title"]), post.content)
    return found


def by_meaning() -> Nearness:
    embedder = default_embedder()
    assert embedder is not None
    seen: dict[str, Sequence[float]] = {}

    def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        new = [text for text in dict.fromkeys(texts) if text not in seen]
        seen.update(zip(new, embedder.embed(new), strict=True))
        return [seen[text] for text in texts]

    return by_vectors(embed)


@dataclass(frozen=True)
class Figures:
    """How many faithful statements passed, and how many unfaithful ones were stopped."""

    passed: int
    true: int
    stopped: int
    false: int
    wrong: tuple[str, ...]


def figures(cases: Sequence[Case], nearness: Nearness) -> Figures:
    results = [(case, weigh(case.statement, [_articles()[case.article]], "", nearness)) for case in cases]
    wrong = [
        f"{'+' if case.true else '-'} {case.article} | {case.statement} -> {result}"
        for case, result in results
        if isinstance(result, Backing) is not case.true
    ]
    true = [result for case, result in results if case.true]
    false = [result for case, result in results if not case.true]
    return Figures(
        sum(isinstance(result, Backing) for result in true),
        len(true),
        sum(not isinstance(result, Backing) for result in false),
        len(false),
        tuple(wrong),
    )


if __name__ == "__main__":
    for way, nearness in (("meaning", by_meaning()), ("words", shared_words)):
        for about, cases in (("library", ON_THE_LIBRARY), ("rental", ON_THE_RENTAL)):
            made = figures(cases, nearness)
            print(f"by {way}, {about}: {made.passed}/{made.true} kept, {made.stopped}/{made.false} stopped")  # noqa: T201
            print("".join(f"  {line}\n" for line in made.wrong))  # noqa: T201
