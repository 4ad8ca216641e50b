"""Completion: what it offers, in the form of each shell, and in a real bash."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from pathlib import Path

import pexpect
import pytest

from ablate import CONF
from ablate.cli import completion

BREAKS = " \t\n\"'><=;|&(:"
"""bash's own COMP_WORDBREAKS."""

NORMS = {"bn", "bn_fixed", "gn", "ln", "none", "srelu"}


@pytest.fixture
def work(folder: Path) -> Path:
    """A working directory with a study, a trial, an arm of one's own, and files."""
    for name, text in {
        "runs/studies/my-study.json": "{}",
        "runs/t0123456789abcdef/config.json": "{}",
        "mine/norm/leaky.yaml": "# Leaky\n_target_: a.b\nkind: soft # soft|hard: of the corner\n",
        "some runs.csv": "",
        ".hidden.csv": "",
        "exports/x/network.onnx": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def offered(line: str) -> set[str]:
    """What fish receives for a line, without meanings."""
    return {row.split("\t")[0] for row in completion.answer("fish", line).splitlines()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ablate ", {"run", "report", "studies", "replay", "evaluate", "export", "submit", "track", "completion"}),
        ("ablate completion ", {"bash", "zsh", "fish"}),
        ("ablate run no", {"norm="}),
        ("ablate run norm=", {f"norm={norm}" for norm in NORMS}),
        ("/some/bin/ablate run norm=b", {"norm=bn", "norm=bn_fixed"}),
        ("X=1 ablate run -m norm=bn,", {f"norm=bn,{norm}" for norm in NORMS - {"bn"}}),
        ("ablate run bits=", {"bits=1", "bits=2", "bits=4", "bits=8", "bits=32"}),
        ("ablate run -m bits=1,3", {"bits=1,32"}),
        ("ablate run recipe.precision=", {f"recipe.precision={p}" for p in ("fp32", "tf32", "bf16", "fp16")}),
        ("ablate run resplit=", {"resplit=true", "resplit=false"}),
        ("ablate run -m design=f", {"design=full", "design=fractional"}),
        ("ablate run -m tune=", {"tune=grid", "tune=none", "tune=random", "tune=tpe"}),
        ("ablate run mode=", {"mode=run", "mode=plan"}),
        ("ablate run seeds=", {"seeds=auto"}),
        ("ablate run checkp", {"checkpoint."}),
        ("ablate run checkpoint.", {"checkpoint.every=", "checkpoint.keep="}),
        ("ablate run norm.s", {"norm.sync="}),
        ("ablate run norm=srelu norm.", {"norm.temperature=", "norm.floor="}),
        ("ablate run -m nuisance.recipe.sch", {"nuisance.recipe.schedule="}),
        ("ablate run -m reference.norm=sr", {"reference.norm=srelu"}),
        ("ablate run -m tune.sp", {"tune.space."}),
        ("ablate run -m tune.space.recipe.schedule=c", {"tune.space.recipe.schedule=cosine"}),
        ("ablate run +norm=sr", {"+norm=srelu"}),
        ("ablate run --m", {"--multirun"}),
        ("ablate report --", {"--config-dir=", "--cfg", "--help", "--hydra-help"}),
        ("ablate run --cfg ", {"job", "hydra", "all"}),
        ("ablate run --config-dir=m", {"--config-dir=mine/"}),
        ("ablate run --config-dir m", {"mine/"}),
        ("ablate run --config-dir=mine norm=l", {"norm=ln", "norm=leaky"}),
        ("ablate run --config-dir=mine norm=leaky norm.", {"norm.kind="}),
        ("ablate run --config-dir=mine norm.kind=", {"norm.kind=soft", "norm.kind=hard"}),
        ("ablate report study=", {"study=my-study"}),
        ("ablate report source=csv path=s", {"path=some runs.csv"}),
        ("ablate report out=", {"out=exports/", "out=mine/", "out=runs/"}),
        ("ablate studies remove=m", {"remove=my-study"}),
        ("ablate studies runs=elsewhere study=", set()),
        ("ablate evaluate trial=", {"trial=t0123456789abcdef"}),
        ("ablate export trial=b", {"trial=best"}),
        ("ablate evaluate weights=exports/x/", {"weights=exports/x/network.onnx"}),
        ("ablate evaluate dataset=cifar1", {"dataset=cifar10", "dataset=cifar100"}),
        ("ablate nonsense ", set()),
        ("ablate run nonsense=", set()),
        ("ablate run depth=", set()),
    ],
)
def test_it_offers(work, line, expected):
    extra = {"--help", "--version"} if line == "ablate " else set()
    assert offered(line) == expected | extra


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ablate re", ["report ", "replay "]),
        ("ablate run no", ["norm="]),
        ("ablate run norm=sr", ["srelu "]),
        ("ablate run -m norm=bn,sr", ["bn,srelu"]),
        ("ablate run 'norm=sr", ["norm=srelu"]),
        ("ablate report path=so", ["some\\ runs.csv "]),
        ("ablate report path=some\\ r", ["some\\ runs.csv "]),
        ("ablate run --config-dir=mi", ["mine/"]),
    ],
)
def test_bash_receives_what_follows_its_last_word_break(work, line, expected):
    assert completion.answer("bash", line, BREAKS).splitlines() == expected


def test_a_bash_that_does_not_break_at_an_equals_sign_receives_the_whole_word(work):
    assert completion.answer("bash", "ablate run norm=sr", " ") == "norm=srelu \n"


def test_zsh_and_fish_receive_meanings_and_whether_the_word_may_go_on(work):
    for shell in ("zsh", "fish"):
        row = "norm=srelu\tShifted ReLU, max(x, floor), for batch norm and ReLU"
        assert completion.answer(shell, "ablate run norm=s") == f"{row}\t\n"
        assert completion.answer(shell, "ablate run -m norm=s") == f"{row}\topen\n"


def test_a_broken_file_of_ones_own_completes_nothing_and_says_nothing(work):
    (work / "mine/norm/broken.yaml").write_text("a: [\n")
    assert completion.answer("bash", "ablate run --config-dir=mine norm=", BREAKS) == ""


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_of_a_shell_asks_the_command_that_is_completed(shell):
    text = completion.script(shell)
    assert f"completion {shell} --line" in text
    assert f"ablate completion {shell}" in text.splitlines()[0]


@pytest.fixture(scope="module")
def path_with_ablate(tmp_path_factory) -> str:
    """A PATH with the script `ablate` as pip writes it, for this Python and this checkout."""
    script = tmp_path_factory.mktemp("bin") / "ablate"
    script.write_text(f"#!{sys.executable}\nfrom ablate.__main__ import main\nmain()\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{script.parent}:{os.environ['PATH']}"


def typed_in_bash(bash: pexpect.spawn, keys: str) -> tuple[str, str]:
    """Type keys and Ctrl-O, which prints the line as it is then; return what was listed before, and the line."""
    bash.send(f"{keys}\x0f")
    bash.expect(r"<<(.*?)>>")
    listed, line = bash.before, bash.match[1]
    bash.send("\x15")  # an empty line again
    return listed, line


def test_a_real_bash_completes(work, path_with_ablate):
    environment = {"PATH": path_with_ablate, "PYTHONPATH": str(CONF.parent), "HOME": str(work), "TERM": "dumb"}
    options = {"encoding": "utf-8", "timeout": 60, "dimensions": (50, 200), "env": environment}
    bash = pexpect.spawn(str(shutil.which("bash")), ["--norc", "--noprofile"], **options)
    try:
        for line in (
            "PS1='$ '; bind 'set show-all-if-ambiguous on' 'set enable-bracketed-paste off' 'set page-completions off'",
            r"""bind -x '"\C-o": printf "<<%s>>" "$READLINE_LINE"'""",
            'eval "$(ablate completion bash)"; echo installed',
        ):
            bash.sendline(line)
        bash.expect("\ninstalled")
        assert typed_in_bash(bash, "ablate repo\t")[1] == "ablate report "
        assert typed_in_bash(bash, "ablate run no\t")[1] == "ablate run norm="
        listed, line = typed_in_bash(bash, "ablate run norm=\t")
        assert set(re.findall(r"\b(?:bn|bn_fixed|gn|ln|none|srelu)\b", listed.partition("norm=")[2])) == NORMS
        assert line == "ablate run norm="
        assert typed_in_bash(bash, "ablate run -m norm=bn,sr\t")[1] == "ablate run -m norm=bn,srelu"
        assert typed_in_bash(bash, "ablate run mode=p\t")[1] == "ablate run mode=plan "
        assert typed_in_bash(bash, "ablate run 'norm=sr\t")[1] == "ablate run 'norm=srelu'"
        assert typed_in_bash(bash, "ablate run --config-dir=mine norm=le\t")[1].endswith("norm=leaky ")
        assert typed_in_bash(bash, "ablate report study=\t")[1] == "ablate report study=my-study "
        assert typed_in_bash(bash, "ablate report path=so\t")[1] == "ablate report path=some\\ runs.csv "
    finally:
        bash.close(force=True)
