"""The language of macros: whatever is written, it is read as it stands or refused with its line."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.macros.language import VARIABLES, Unset, Variable, left_in, missing, parse, render

plain = st.text(max_size=40).filter(lambda text: "{" not in text)
variables = st.sampled_from(sorted(VARIABLES)).map(Variable)
texts = st.lists(st.one_of(plain, variables), max_size=8)
values = st.fixed_dictionaries({name: st.text(min_size=1).filter(str.strip) for name in VARIABLES})


@given(texts)
def test_what_is_written_is_what_is_read(parts: list[str | Variable]) -> None:
    text = "".join(map(str, parts))
    read = parse(text)
    assert "".join(map(str, read)) == text
    assert [part for part in read if isinstance(part, Variable)] == [p for p in parts if isinstance(p, Variable)]
    assert "" not in read
    assert not any(isinstance(a, str) and isinstance(b, str) for a, b in itertools.pairwise(read))


@given(texts, values)
def test_a_value_is_put_in_as_it_is_and_never_read_again(parts: list[str | Variable], given_: dict[str, str]) -> None:
    tricky = {name: f"{{{{operator.name}}}}{value}" for name, value in given_.items()}
    expected = "".join(tricky[part.name] if isinstance(part, Variable) else part for part in parts)
    assert render(parse("".join(map(str, parts))), tricky) == expected


@given(st.text(alphabet="{} .abcdeimnorstu\n_", max_size=60))
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    try:
        read = parse(text)
    except InvalidInput as error:
        refused = error
    else:
        assert ("{{" not in text) == all(isinstance(part, str) for part in read)
        return
    assert refused.field == "body"
    assert refused.message.startswith("Line ")
    assert "{{" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hi {{name}}", "Line 1: there is no variable {{name}}."),
        ("Hi\n{{ customer.__class__ }}", "Line 2: there is no variable {{customer.__class__}}."),
        ("{{customer.name", "Line 1: write a variable"),
        ("{{customer.name|upper}}", "Line 1: write a variable"),
        ("{{{customer.name}}}", "Line 1: write a variable"),
        ("{{customer.name()}}", "Line 1: write a variable"),
        ("{{Customer.Name}}", "Line 1: write a variable"),
    ],
)
def test_what_is_no_variable_is_named_where_it_stands(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(text)
    assert refused.value.message.startswith(words)


def test_every_variable_without_a_value_is_named_once() -> None:
    parts = parse("{{customer.email}} {{customer.name}} {{ customer.email }} {{operator.name}}")
    known = {"operator.name": "Mina", "customer.email": None, "customer.name": "  "}
    assert missing(parts, known) == ("customer.email", "customer.name")
    with pytest.raises(Unset, match=r"\{\{customer.email\}\}, \{\{customer.name\}\}"):
        render(parts, known)


def test_what_is_left_in_a_text_is_found_and_other_braces_are_the_writers_own() -> None:
    text = "Dear {{customer.name}}, write {{ user.id }} into {{ customer.name }}"
    assert left_in(text) == ("customer.name",)
