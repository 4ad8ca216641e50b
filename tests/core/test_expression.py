from __future__ import annotations

import itertools
import random

import pytest

from ablate.core.errors import UsageError
from ablate.core.expression import quoted, read
from ablate.core.levels import same

FACTORS = {
    "norm": ["bn", "srelu", "none"],
    "bits": [1, 8, 32],
    "recipe.lr": [0.1, 0.01],
    "model.residual": [True, False],
    "recipe.micro_batch": [None, 16],
    "depth": [8, 14],
    "norm.floor": [-1, 0.5],
}
CELLS = [dict(zip(FACTORS, levels, strict=True)) for levels in itertools.product(*FACTORS.values())]


def holds(text, cell, optional=()):
    return read("where", text, FACTORS, optional).holds(cell)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("norm == bn", lambda c: c["norm"] == "bn"),
        ("norm == 'bn'", lambda c: c["norm"] == "bn"),
        ("bn == norm", lambda c: c["norm"] == "bn"),
        ("norm != bn", lambda c: c["norm"] != "bn"),
        ("norm == none", lambda c: c["norm"] == "none"),
        ("bits < 32", lambda c: c["bits"] < 32),
        ("1 < bits <= 32", lambda c: c["bits"] in (8, 32)),
        ("32 >= bits > 8", lambda c: c["bits"] == 32),
        ("bits == 1.0", lambda c: c["bits"] == 1),
        ("bits >= depth", lambda c: c["bits"] >= c["depth"]),
        ("bits == depth", lambda c: c["bits"] == c["depth"]),
        ("norm in [bn, srelu]", lambda c: c["norm"] != "none"),
        ("norm not in [bn, 'srelu']", lambda c: c["norm"] == "none"),
        ("norm in (bn, srelu)", lambda c: c["norm"] != "none"),
        ("recipe.lr == 1e-2", lambda c: c["recipe.lr"] == 0.01),
        ("recipe.lr > 0.05", lambda c: c["recipe.lr"] == 0.1),
        ("model.residual == true", lambda c: c["model.residual"]),
        ("model.residual == False", lambda c: not c["model.residual"]),
        ("recipe.micro_batch == null", lambda c: c["recipe.micro_batch"] is None),
        ("recipe.micro_batch != None", lambda c: c["recipe.micro_batch"] is not None),
        ("recipe.micro_batch < 20", lambda c: c["recipe.micro_batch"] == 16),
        ("norm.floor == -1", lambda c: c["norm.floor"] == -1),
        ("norm.floor > -1", lambda c: c["norm.floor"] == 0.5),
        ("not norm == bn", lambda c: c["norm"] != "bn"),
        ("not (norm == bn and bits == 1)", lambda c: not (c["norm"] == "bn" and c["bits"] == 1)),
        ("norm == bn or bits == 1 and depth == 8", lambda c: c["norm"] == "bn" or (c["bits"] == 1 and c["depth"] == 8)),
        (
            "(norm == bn or bits == 1) and depth == 8",
            lambda c: (c["norm"] == "bn" or c["bits"] == 1) and c["depth"] == 8,
        ),
        ("  norm == bn  ", lambda c: c["norm"] == "bn"),
        ("norm in []", lambda c: False),
    ],
)
def test_an_expression_is_true_where_it_says(text, meant):
    parsed = read("where", text, FACTORS)
    assert [parsed.holds(cell) for cell in CELLS] == [meant(cell) for cell in CELLS]


def test_random_expressions_mean_what_python_means():
    """Each is made as text for us, and beside it as text for Python, of quoted levels and looked-up factors."""
    draws = random.Random(0)

    def comparison():
        name = draws.choice(["norm", "bits", "depth", "recipe.lr"])
        level = draws.choice(FACTORS[name])
        sign = draws.choice(["==", "!="] if name == "norm" else ["==", "!=", "<", "<=", ">", ">="])
        return f"{name} {sign} {level}", f"cell[{name!r}] {sign} {level!r}"

    def expression(deep):
        if not deep:
            return comparison()
        (ours, python), (more, more_python) = expression(deep - 1), expression(draws.randrange(deep))
        join = draws.choice(["and", "or"])
        deny = draws.choice(["", "not "])
        return f"{deny}({ours}) {join} {more}", f"{deny}({python}) {join} {more_python}"

    for _ in range(200):
        ours, python = expression(draws.randrange(4))
        parsed = read("where", ours, FACTORS)
        for cell in draws.sample(CELLS, 20):
            assert parsed.holds(cell) == eval(python, {}, {"cell": cell}), ours


@pytest.mark.parametrize(
    "text",
    [
        "bits + 1 == 2",
        "bits * 8 == 8",
        "-bits == -1",
        "- -1 == bits",
        "norm == 'b' + 'n'",
        "__import__('os').system('true')",
        "__import__('os').system('true') == 0",
        "len(norm) == 2",
        "norm.upper() == 'BN'",
        "norm.__class__ == bn",
        "recipe.lr.real == 1",
        "norm[0] == 'b'",
        "(lambda: 1) == bits",
        "(x := 1) == bits",
        "f'{norm}' == bn",
        "[one for one in norm] == bn",
        "{1} == bits",
        "{'a': 1} == bits",
        "bn if bits else srelu == norm",
        "norm == bn if bits == 1 else norm == srelu",
        "bits & 1 == 1",
        "bits == 1 & depth == 8",
        "~bits == 1",
        "*norm == bn",
        "norm is bn",
        "norm is not bn",
        "norm in bn",
        "norm in {bn}",
        "norm in 'bnx'",
        "bits in range(3)",
        "norm in [bn, bits]",
        "norm in [[bn]]",
        "[bn] == norm",
        "bits == 1j",
        "bits == b'1'",
        "bits == ...",
        "await norm == bn",
        "yield",
        "norm",
        "not norm",
        "model.residual",
        "norm and bits == 1",
        "norm == bn or bits",
        "true",
        "1",
        "'bn'",
        "1 == 1",
        "bn == srelu",
        "bn in [bn]",
        "null == true",
    ],
)
def test_anything_but_comparisons_and_boolean_operators_is_refused(text):
    with pytest.raises(UsageError, match="allowed") as refused:
        read("where", text, FACTORS)
    assert str(refused.value).startswith(f"where={text}: ")


@pytest.mark.parametrize(
    "text", ["", " ", "norm = bn", "norm ==", "(norm == bn", "norm == bn; bits == 1", "a b", "x\0"]
)
def test_an_error_of_grammar_names_the_quoted_form(text):
    with pytest.raises(UsageError, match="cannot be read") as refused:
        read("where", text, FACTORS)
    assert "in quotes, for the shell too: 'where=\"norm == bn\"'" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("norm == bm", "where=norm == bm: norm has no level bm; allowed: bn, srelu, none"),
        ("bm == norm", "where=bm == norm: norm has no level bm; allowed: bn, srelu, none"),
        ("norm in [bn, gn]", "where=norm in [bn, gn]: norm has no level gn; allowed: bn, srelu, none"),
        ("bits == 2", "where=bits == 2: bits has no level 2; allowed: 1, 8, 32"),
        ("bits != 2", "where=bits != 2: bits has no level 2; allowed: 1, 8, 32"),
        ("bits == true", "where=bits == true: bits has no level true; allowed: 1, 8, 32"),
        ("bits == null", "where=bits == null: bits has no level null; allowed: 1, 8, 32"),
        ("norm == bn and bits in [1, 3]", "where=norm == bn and bits in [1, 3]: bits has no level 3; "),
        ("model.residual == yes", "where=model.residual == yes: model.residual has no level yes; allowed: true, false"),
        ("nrom == bn", "where=nrom == bn: nrom: no such factor; allowed: norm, bits, recipe.lr, "),
        ("width < 3", "where=width < 3: width: no such factor; allowed: norm, bits, "),
        ("recipe.lrr < 3", "where=recipe.lrr < 3: recipe.lrr: no such factor; allowed: norm, "),
        ("norm < 3", "where=norm < 3: norm's level bn is not a number; allowed with < <= > >=: numbers"),
        ("bits < high", "where=bits < high: high is not a number; allowed with < <= > >=: numbers"),
        ("model.residual > 0", "where=model.residual > 0: model.residual's level true is not a number; "),
        (
            "model.residual",
            "where=model.residual: model.residual alone is no comparison; allowed: model.residual == true",
        ),
    ],
)
def test_a_misspelt_name_or_level_is_refused_with_what_is_allowed(text, message):
    with pytest.raises(UsageError) as error:
        read("where", text, FACTORS)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("text", [5, True, ["norm"], {"norm": "bn"}, 0.5])
def test_a_value_that_is_no_text_is_refused_with_the_quoted_form(text):
    with pytest.raises(UsageError, match="allowed: an expression in quotes, for the shell too: 'where="):
        read("where", text, FACTORS)


@pytest.mark.parametrize("text", ["(" * 500 + "norm == bn" + ")" * 500, "not " * 20_000 + "norm == bn"])
def test_an_expression_nested_too_deep_is_refused_in_one_line(text):
    with pytest.raises(UsageError, match="allowed: comparisons"):
        read("where", text, FACTORS)


def test_a_factor_that_may_be_unset_is_null_there():
    assert holds("depth == null", {}, optional=["depth"])
    assert not holds("depth < 100", {}, optional=["depth"])
    assert not holds("depth > 1", {}, optional=["depth"])
    assert holds("depth != 8", {}, optional=["depth"])
    assert not holds("depth in [8, 14]", {}, optional=["depth"])
    assert not holds("depth == null", {"depth": 8}, optional=["depth"])


def test_the_names_are_the_factors_that_it_compares():
    assert read("where", "norm == bn and 1 < bits or recipe.lr > 0", FACTORS).names == {"norm", "bits", "recipe.lr"}


def test_the_quoted_form_is_what_a_shell_and_hydra_take():
    import shlex

    from hydra.core.override_parser.overrides_parser import OverridesParser

    for text in ("norm == bn", 'norm == "bn"', "norm == 'bn' or bits == 1", "a == '\"'"):
        (word,) = shlex.split(quoted("where", text))
        assert OverridesParser.create().parse_override(word).value() == text


def test_one_level_typed_in_two_ways_is_the_same():
    assert same(0.01, 1e-2)
    assert not same(1, True)
    assert not same("bn", "bN")
    assert same(None, "null")
