"""ESCI: pairs from files as the authors publish them and from joined ones, and how labels are read."""

import dataclasses
import json
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tradeoff import domains
from tradeoff.domains import _esci, esci

SPLITS = ("train", "test")
LABELS = ("Exact", "Substitute", "Complement", "Irrelevant")
ESCI = domains.build({"domain": "esci"})
JOINED_HERE = domains.build({"domain": "esci", "products": True})
COT = domains.build({"domain": "esci_cot", "teacher": "big"})


def pairs(count=80, **changes):
    """Examples as the authors publish them: four products a query, one of each label."""
    rows = range(count)
    table = {
        "example_id": [1000 + i for i in rows],
        "query": [f"query {i // 4}" for i in rows],
        "query_id": [i // 4 for i in rows],
        "product_id": [f"B{i % 10}" for i in rows],
        "product_locale": ["us"] * count,
        "esci_label": ["ESCI"[i % 4] for i in rows],
    }
    return pd.DataFrame({**table, **changes})


def products(locale="us", ids=range(10)):
    texts = {
        "title": "Lamp",
        "description": "never shown",
        "bullet_point": "Warm light",
        "brand": "Lux",
        "color": "red",
    }
    columns = {f"product_{name}": [f"{text} {locale} {i}" for i in ids] for name, text in texts.items()}
    return pd.DataFrame({"product_id": [f"B{i}" for i in ids], "product_locale": locale, **columns})


def joined(count=80):
    return pairs(count).merge(products(), on=["product_id", "product_locale"])


@pytest.fixture
def write(tmp_path):
    def to(**tables):
        files = {}
        for name, table in tables.items():
            files[f"esci_{name}"] = tmp_path / f"{name}.parquet"
            table.to_parquet(files[f"esci_{name}"])
        return files

    return to


def question(example):
    return example.messages[-1]["content"]


# Files


def test_a_joined_file_and_the_two_files_give_the_same_examples(write):
    separate = write(examples=pairs(), products=pd.concat([products("es"), products(), products("jp")]))
    for split in ("train", "test"):
        drawn = JOINED_HERE.examples(split, None, 0, separate)
        assert drawn
        assert all(" us " in question(e) and " es " not in question(e) for e in drawn)
    one, other = separate, write(examples=joined())
    for split in ("train", "test"):
        assert JOINED_HERE.examples(split, None, 0, one) == ESCI.examples(split, None, 0, other)
    assert ESCI.data("test") == ESCI.data("train") == ("esci_examples",)
    assert JOINED_HERE.data("test") == ("esci_examples", "esci_products")


def test_other_locales_are_left_out(write):
    locales = ["us", "es", "jp", "us"] * 20
    files = write(examples=pairs(product_locale=locales), products=pd.concat([products("es"), products()]))
    drawn = [e for split in ("train", "test") for e in JOINED_HERE.examples(split, None, 0, files)]
    assert {e.response for e in drawn} == {"Exact", "Irrelevant"}
    assert len(drawn) == 40
    with pytest.raises(ValueError, match=r"examples.parquet: has no pair of the US locale; use the file that"):
        ESCI.examples("train", 1, 0, write(examples=joined().assign(product_locale="es")))


def test_pairs_of_a_file_that_was_joined_across_locales_are_left_out_and_told(write, capsys):
    across = pairs().merge(pd.concat([products(), products("es", ids=[3])]).drop(columns="product_locale"))
    assert len(across) == 88
    files = write(examples=across)
    drawn = [e for split in ("train", "test") for e in ESCI.examples(split, None, 0, files)]
    assert len(drawn) == 72
    assert not any(" us 3\n" in question(e) for e in drawn)
    told = "8 pairs left out, which have several rows: it was joined across locales\n"
    assert capsys.readouterr().out == f"{files['esci_examples']}: {told}" * 2


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"examples": pairs(), "products": products(ids=range(9))},
            "products.parquet: lacks {} of the products that are asked for, such as B9 in the US locale; "
            "use the two files of one release",
        ),
        (
            {"examples": pairs(), "products": pd.concat([products(ids=range(9)), products("es", ids=[9])])},
            "products.parquet: lacks {} of the products that are asked for, such as B9 in the US locale; "
            "use the two files of one release",
        ),
        (
            {"examples": pairs(), "products": pd.concat([products(), products(ids=[2])])},
            "products.parquet: product_id B2 stands twice in the US locale; remove one",
        ),
        (
            {"examples": pairs().drop(columns=["query", "esci_label"]), "products": products()},
            "examples.parquet: lacks the column query, esci_label; use the file that the authors publish",
        ),
        (
            {"examples": pairs(), "products": products().drop(columns="product_brand")},
            "products.parquet: lacks the column product_brand; use the file that the authors publish",
        ),
        (
            {"examples": pairs(esci_label=["E", "S", "X", "I"] * 20), "products": products()},
            "examples.parquet, example_id 1002: unknown esci_label 'X'; "
            "it should be one of E, S, C, I, Exact, Substitute, Complement, Irrelevant",
        ),
        (
            {"examples": pairs(query=[None, *["a"] * 79]), "products": products()},
            "examples.parquet: 1 of its pairs lack a value; use the file that the authors publish",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(write, tmp_path, tables, message):
    drawn = [i for i in range(80) if i % 10 == 9 and _esci._split(f"query {i // 4}") == "train"]
    with pytest.raises(ValueError) as error:
        JOINED_HERE.examples("train", None, 0, write(**tables))
    assert str(error.value) == f"{tmp_path}/" + message.format(len(drawn))


def test_what_is_not_parquet_is_refused(tmp_path):
    path = tmp_path / "examples.parquet"
    for content in (None, b"example_id,query\n1,a\n", b"PAR1"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"^\S+examples.parquet: cannot be read as Parquet \([^\n]+\); mend or replace"
        ):
            ESCI.examples("train", 1, 0, {"esci_examples": path})


def test_labels_may_be_letters_or_words(write):
    words = [LABELS[i % 4].upper() if i % 3 else f" {'esci'[i % 4]}" for i in range(80)]
    one, other = (
        ESCI.examples("train", None, 0, write(examples=table))
        for table in (joined(), joined().assign(esci_label=words))
    )
    assert one == other
    assert set(Counter(e.response for e in one)) == set(LABELS)


# Draws


@pytest.mark.parametrize("domain", [ESCI, COT])
def test_a_draw_repeats_and_a_shorter_one_is_its_start_whatever_the_order_of_the_rows(write, domain):
    files = write(examples=joined())
    whole = domain.examples("train", None, 3, files)
    assert domain.examples("train", len(whole), 3, files) == whole
    assert domain.examples("train", 9, 3, files) == whole[:9]
    assert domain.examples("train", 9, 4, files) != whole[:9]
    assert len({e.id for e in whole}) == len(whole)
    assert domain.examples("train", None, 3, write(examples=joined().iloc[::-1])) == whole
    with pytest.raises(ValueError) as error:
        domain.examples("train", 81, 3, files)
    assert str(error.value) == (
        f"{files['esci_examples']}, US locale, train: gives {len(whole)} examples, and 81 are asked for; "
        f"ask for at most {len(whole)}"
    )


def test_no_query_is_in_both_splits_even_under_another_id(write):
    queries = [f"Query {i // 4}" if i < 400 else f" query  {(i - 400) // 4}" for i in range(800)]
    files = write(examples=pairs(800, query=queries, query_id=[i // 4 for i in range(800)]), products=products())
    found = {}
    for split in ("train", "test"):
        drawn = JOINED_HERE.examples(split, None, 0, files)
        found[split] = {question(e).splitlines()[0].casefold() for e in drawn}
        assert Counter(e.response for e in drawn) == dict.fromkeys(LABELS, len(drawn) // 4)
    assert not found["train"] & found["test"]
    assert len(found["train"] | found["test"]) == 100
    assert 15 <= len(found["test"]) <= 35


@pytest.mark.parametrize(
    "spellings",
    [
        ("black & decker", "black &amp; decker", "Black  &AMP; Decker"),
        ("<b>lamp</b> 5", "lamp 5"),
        ("café au lait", "cafe\u0301 au lait", "caf&eacute; au lait"),
        ("１２ volt", "12 volt"),
    ],
)
def test_spellings_of_one_query_are_in_one_split(write, spellings):
    """Whatever the split: other words are put behind until both were seen."""
    seen = set()
    for word in range(20):
        queries = [f"{spelling} {word}" for spelling in spellings]
        files = write(examples=joined(4 * len(queries)).assign(query=[q for q in queries for _ in range(4)]))
        found = {
            split: _esci._pairs(files["esci_examples"])["query"].map(_esci._split).eq(split).sum() for split in SPLITS
        }
        assert sorted(found.values()) == [0, 4 * len(queries)]
        seen |= {split for split, count in found.items() if count}
    assert seen == set(SPLITS)


def test_label_only_and_chain_of_thought_have_the_same_pairs(write):
    files = write(examples=joined())
    for split in ("train", "test"):
        short, long = (d.examples(split, None, 1, files) for d in (ESCI, COT))
        assert [e.id for e in short] == [e.id for e in long]
        assert [f"Answer: {e.response}" for e in short] == [e.response for e in long]
        assert [e.answer for e in short] == [e.answer for e in long]


def test_examples_follow_the_contract(write):
    files = write(examples=joined())
    for domain in (ESCI, COT):
        assert [m.name for m in domain.metrics] == ["balanced_accuracy", "accuracy", "macro_f1"]
        assert domain.metrics[0].balanced_by == domain.metrics[2].f1_of == "label"
        for e in domain.examples("test", None, 0, files):
            right = domains.Outcome({m.name: 1.0 for m in domain.metrics}, label=e.answer["label"])
            assert domain.score(e.response, e.answer) == right
            assert json.loads(json.dumps(dataclasses.asdict(e)))["answer"] == e.answer
            assert e.response.split()[-1] in question(e)
    assert question(ESCI.examples("test", 1, 0, files)[0]).endswith(
        "\nIrrelevant: none of these.\nAnswer with one word: Exact, Substitute, Complement or Irrelevant."
    )


def test_the_options():
    assert (ESCI.max_new_tokens, COT.max_new_tokens) == (8, 256)
    assert (ESCI.taught_by, COT.taught_by) == (None, "big")
    cot = TypeAdapter(domains.kind("esci_cot"))
    read = cot.validate_json('{"teacher": "big", "products": true, "max_new_tokens": 99}', strict=True)
    assert dataclasses.asdict(read) == {
        "products": True,
        "longest_product": 600,
        "teacher": "big",
        "max_new_tokens": 99,
    }
    for options, where in (("{}", "teacher"), ('{"teacher": "a", "longest_product": 5}', "longest_product")):
        with pytest.raises(ValidationError) as error:
            cot.validate_json(options, strict=True)
        assert error.value.errors()[0]["loc"] == (where,)


# Texts


def product_text(longest=600, **texts):
    fields = dict.fromkeys(("title", "brand", "color", "bullet_point"))
    return esci._product_text(_esci.Pair(1, "q", "Exact", **{**fields, **texts}), longest)


def test_a_product_is_told_without_html_and_without_what_it_lacks():
    assert product_text(title="<b>Lamp</b> &amp; bulb", bullet_point="3 < 5 > 2<br/>\n&lt;i&gt;warm&lt;/i&gt;") == (
        "Product: Lamp & bulb\nDetails: 3 < 5 > 2 warm"
    )
    assert product_text(title="Lamp", brand="Lux", color=" ") == "Product: Lamp\nBrand: Lux"
    assert product_text() == ""


def test_a_long_product_is_cut_between_words():
    assert product_text(title="aaaa bbbb cccc", longest=23) == "Product: aaaa bbbb cccc"
    assert product_text(title="aaaa bbbb cccc", longest=22) == "Product: aaaa bbbb ..."
    assert product_text(title="aaaa bbbb cccc", longest=21) == "Product: aaaa ..."
    assert product_text(title="a" * 50, longest=20) == "Product: ..."
    assert product_text(title="aaaa", brand="b" * 50, longest=24) == "Product: aaaa\nBrand: ..."


@given(text=st.text(), longest=st.integers(20, 60))
def test_a_cut_product_is_a_start_and_never_too_long(text, longest):
    whole, cut = product_text(title=text, longest=10**9), product_text(title=text, longest=longest)
    assert len(cut) <= longest
    assert cut == whole or whole.startswith(cut.removesuffix(" ..."))


def test_missing_texts_are_none(write):
    table = joined()
    table.loc[::2, "product_brand"] = None
    drawn = ESCI.examples("train", None, 0, write(examples=table))
    assert 0 < sum("Brand:" in question(e) for e in drawn) < len(drawn)
    assert not any("None" in question(e) or "nan" in question(e) for e in drawn)


# Scores


@pytest.mark.parametrize(
    ("response", "short", "long"),
    [
        ("Substitute", "Substitute", "Substitute"),
        ("**substitute**.", "Substitute", "Substitute"),
        ("Answer: SUBSTITUTE", "Substitute", "Substitute"),
        ("Exact? No.\nAnswer: Substitute", "Substitute", "Substitute"),
        ("Answer: Exact\nAnswer: Substitute, not Exact", "Substitute", "Substitute"),
        ("Exact.\n**Answer:** unknown", None, None),
        ("It is a substitute, since another substitute fits.", "Substitute", "Substitute"),
        ("Not Exact but Substitute", "Exact", None),
        ("exactly", None, None),
        ("", None, None),
    ],
)
def test_how_a_label_is_read(response, short, long):
    for domain, label in ((ESCI, short), (COT, long)):
        outcome = domain.score(response, {"label": "Substitute"})
        assert outcome.label == label
        assert outcome.invalid == (label is None)
        assert outcome.values == {m.name: float(label == "Substitute") for m in domain.metrics}


@given(text=st.text() | st.from_regex(r"(\**answer\**: ?|Exact|complement|[ \n.])*", fullmatch=True))
def test_score_takes_any_text(text):
    for domain in (ESCI, COT):
        outcome = domain.score(text, {"label": "Complement"})
        assert set(outcome.values) == {m.name for m in domain.metrics}
        assert outcome.label in (None, *LABELS)
        assert set(outcome.values.values()) == {float(outcome.label == "Complement")}
