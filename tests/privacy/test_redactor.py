"""The redactor: what it takes out, what it must leave, and that no text can hold it up or make it fail."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flask_cairnloop.privacy.redactor import TOKEN, names_of, redact, redaction

CLEO = names_of(
    ref="user-4711", name="Cléo Marsh-Ødegård", email="c.oedegaard@bakery.example", organization="The Tidal Bakery Ltd"
)
# Nobody's: reserved for documentation, published as test numbers, or made up.
TAKEN = [
    # e-mail addresses
    ("Write to cleo.marsh+news@bakery.example.", "Write to [email]."),
    ("<mailto:O'Neil_99@mail.bakery.co.example>", "<mailto:[email]>"),
    ("zoë@bücher.example and a@b.example", "[email] and [email]"),
    ("cleo (at) bakery (dot) example", "[email]"),
    # phone numbers
    ("Call +49 30 901820 today", "Call [phone] today"),
    ("tel:+4930901820", "tel:[phone]"),
    ("+44 20 7946 0958 ext 12", "[phone]"),
    ("(415) 555-2671 or 415-555-2671", "[phone] or [phone]"),
    ("020 7946 0958, 0171/1234567, 06 12 34 56 78", "[phone], [phone], [phone]"),
    ("my mobile number is 7700 900 123", "my mobile number is [phone]"),
    # payment cards
    ("4111 1111 1111 1111 123 12/28", "[card] 123 12/28"),
    ("378282246310005;5500-0000-0000-0004", "[card];[card]"),
    ("my card: 6011111111111117.", "my card: [card]."),
    ("٤١١١١١١١١١١١١١١١", "[card]"),
    # accounts
    ("IBAN DE89 3704 0044 0532 0130 00 is mine", "IBAN [iban] is mine"),
    ("GB82WEST12345698765432, fr1420041010050500013M02606", "[iban], [iban]"),
    ("SSN 536-90-4399", "SSN [id]"),
    # places in a network
    ("from 203.0.113.7:8080 to 2001:db8::8a2e:370:7334.", "from [ip]:8080 to [ip]."),
    ("fe80::1 is the router, 00:1A:2B:3C:4D:5E its card", "[ip] is the router, [mac] its card"),
    # addresses of pages
    ("https://cleo:hunter2@host.example/a/b", "https://[key]@host.example/a/b"),
    ("https://host.example/p?token=abc&lang=en", "https://host.example/p?token=[value]&lang=[value]"),
    ("(https://host.example/cb?q#access_token=abc)", "(https://host.example/cb?[value]#access_token=[value]"),
    # secrets
    ("sk_live_EXAMPLEEXAMPLE0", "[key]"),
    ("ghp_EXAMPLE00000000000000000000000000000", "[key]"),
    ("AKIAIOSFODNN7EXAMPLE xoxb-000000000000-EXAMPLE", "[key] [key]"),
    ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZXN0In0.c2lnbmF0dXJl", "[key]"),
    ("-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nIs it this?", "[key]\nIs it this?"),
    ("-----BEGIN PRIVATE KEY-----\nMHcC cut off", "[key]"),
    ("password: xyz", "password: [key]"),
    ("DB_PASSWORD='a b c' token=xyz&x=1", "DB_PASSWORD=[key] token=[key]&x=1"),
    ('{"api_key": "abc", "pin": 1234}', '{"api_key": [key], "pin": [key]'),
    ("My password is hunter2! Why?", "My password is [key] Why?"),
    ("Authorization: Bearer abcdef", "Authorization: Bearer [key]"),
    ("kJ8s9Dk2LmQ0xZ7vB3nR5tYw", "[key]"),
    ("d41d8cd98f00b204e9800998ecf8427e", "[key]"),
    ("550e8400-e29b-41d4-a716-446655440000", "[key]"),
    ("A1B2C-D3E4F-G5H6I-J7K8L-M9N0P", "[key]"),
    # where somebody lives
    ("221b Baker Street, London NW1 6XE", "[address], London [address]"),
    ("12 Maple Drive, Springfield, IL 62704", "[address], [address]"),
    ("Lange Hauptstraße 12a, 10115 Berlin", "[address], 10115 Berlin"),
    ("12 bis, rue de la Paix", "[address]"),
    ("Calle de Alcalá, 48", "[address]"),
    ("P.O. Box 123", "[address]"),
]
LEFT = [
    "Error 0x80070005 after E1234, ERR_SSL_VERSION_OR_CIPHER_MISMATCH and NS_ERROR_NET_INADEQUATE_SECURITY",
    "Version 128.4.0, 128.4.0.1-beta, version 1.2.3.4, v10.0.0.1, Chrome/128.0.6613.120, 10.0.19045.3803, KB5034441",
    "Build 20240115103000 of Thunderbird128DownloadInstallerSetup, mail.server.default.check_all_folders_for_new",
    "{e7c2bd08-1a2b-4c3d-9e8f-0a1b2c3d4e5f} is the add-on",
    "IMAP on port 993, SMTP on 587 or 465, proxy on localhost:8080",
    "Tools > Account Settings > Server Settings > Check for new messages every 10 minutes",
    "Settings > 3 Accounts > Close, 2 Google Drive folders, Speicherplatz 20 GB, upgrade via Windows 11",
    "On 2026-11-26 at 10:30:45, on 26.11.2026, 01/02/2026, 01-02-2026 10:30, 11/26/26",
    "It costs $1,299.00, 1.299,00 € or £40, 19% of it tax, 3 x 250 = 750",
    "Order 10482, order #2024-118, invoice 2024/0042, ticket 123456789, IMEI 490154203237518",
    "My password is wrong and the token is not accepted. How do I change the password?",
    "std::string, a::b, 10:30, ratio 16:9, C++ 11, 50/50, @mina, 3.5 GB, 1920x1080",
    "https://www.example.com/help/menu#install and https://host.example/a/b/c.html",
    "C:\\Users\\Public\\Documents\\report-2024-final.pdf and /usr/local/lib/python3.11/site-packages",
    "One Way Street is a song; I drove 3 Miles down the Road",
    "",
    "[email] [phone] [card] [key] [name]",
]


@pytest.mark.parametrize(("text", "expected"), TAKEN)
def test_what_is_personal_or_secret_is_taken_out(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("text", LEFT)
def test_what_people_search_by_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This is Cléo from the Tidal Bakery", "This is [name] from the [name] [name]"),
        ("CLEO MARSH-ODEGARD's order; cleo_backup.zip", "[name]'s order; [name]_backup.zip"),
        ("Cle\u0301o Oedegaard", "[name] [name]"),
        ("The  Tidal\nBakery Ltd", "[name]"),
        ("c.oedegaard wrote, user-4711 too", "[name] wrote, [name] too"),
        ("Marshmallows, marshes and the user of support Ltd", "Marshmallows, marshes and the user of support Ltd"),
    ],
)
def test_what_names_the_customer_is_taken_out_as_whole_words(text: str, expected: str) -> None:
    assert redact(text, names=CLEO) == expected


def test_umlauts_may_be_spelled() -> None:
    for typed in ("Jürgen Müßig", "JUERGEN MUESSIG", "Jurgen Mussig"):
        assert redact(typed, names=["Jürgen Müßig"]) == "[name]"


def test_names_in_scripts_without_spaces_are_found_within_a_line() -> None:
    assert redact("私は山田太郎です", names=["山田 太郎"]) == "私は[name][name]です"


def test_a_name_that_is_the_word_of_a_token_does_not_eat_the_token() -> None:
    names = ["Key Name", "email", "redacted"]
    once = redact("Key wrote to a@b.example, the redacted email of Name", names=names)
    assert once == "[name] wrote to [email], the [name] [name] of [name]"
    assert redact(once, names=names) == once


def test_a_short_number_is_no_name() -> None:
    assert names_of(ref="404", name=" ", email="@", organization=None) == ()
    assert redact("Error 404", names=names_of(ref="404")) == "Error 404"
    assert redact("I am 12345", names=names_of(ref="12345")) == "I am [name]"


def test_it_counts_what_it_took_of_each_kind() -> None:
    found = redaction("a@b.example, c@d.example, Cléo", names=CLEO)
    assert found.text == "[email], [email], [name]"
    assert found.counts == {"email": 2, "name": 1}
    assert redaction(found.text, names=CLEO).counts == {}


# --- any text at all ---

PIECES = st.sampled_from(
    [text for text, _ in TAKEN]
    + LEFT
    + [" ", "\n", "-", ".", "@", "+", "[", "]", "::", "://", "?a=", "0", "Cléo", "A1"]
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, names=st.lists(st.text(max_size=30), max_size=4))
def test_redacting_twice_is_redacting_once(text: str, names: list[str]) -> None:
    once = redact(text, names=[*names, *CLEO])
    assert redact(once, names=[*names, *CLEO]) == once


@settings(max_examples=200, deadline=None)
@given(before=st.text(max_size=30), after=st.text(max_size=30))
def test_a_known_key_survives_in_no_surroundings(before: str, after: str) -> None:
    address = "https://cleo:hunter2password@host.example/a?code=hunter3password&x=hunter4password"
    assume("hunter" not in before + after and "password" not in before + after)
    left = redact(f"{before} {address} {after}")
    assert "password" not in left
    assert "hunter" not in left


@pytest.mark.parametrize(
    "text", ["\ud800 a@b.example \udfff", "a\x00b@c.example", "\u202e4111 1111 1111 1111", "٣" * 40, "²³" * 9]
)
def test_odd_signs_make_it_neither_fail_nor_blind(text: str) -> None:
    left = redact(text, names=["\ud800\x00", "²²²", "."])
    assert "@" not in left
    assert "1111" not in left


SLOW = [
    "1",
    "1 ",
    "1.",
    "0 1",
    "+1 ",
    "@",
    "a@",
    "a.b@c.d",
    "eyJ-",
    "sk_",
    "password:",
    "A1 ",
    "AB12 ",
    "AB12",
    "4111 ",
]
SLOW += [
    "-----BEGIN PRIVATE KEY-----",
    "https://",
    "http://a?a=",
    "::",
    "[",
    "(",
    "[name]",
    "1 Aa ",
    "Via Aaa ",
    "a",
    "Aa1",
]


@pytest.mark.parametrize("piece", SLOW)
def test_the_time_grows_with_the_length_and_with_nothing_else(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        started = time.process_time()
        redact(text, names=CLEO)
        return time.process_time() - started

    seconds(1_000)  # what is built once is built
    short, long = seconds(4_000), seconds(32_000)
    # Eight times the text: eight times the time and some room for a busy machine, far below the 64 of a square.
    assert long < max(24 * short, 0.1)


def test_tokens_are_what_the_documents_say() -> None:
    assert TOKEN.fullmatch("[email]")
    assert not TOKEN.fullmatch("[mail]")
