from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import CONF

REPOSITORY = Path(CONF).parent

USER_ERRORS = [
    ("norm=bm", "norm=bm: no such option; allowed: bn, bn_fixed, gn, ln, none, srelu"),
    ("-m norm=bm,bn", "norm=bm: no such option; allowed: bn, bn_fixed, gn, ln, none, srelu"),
    ("bits=3", "bits=3: allowed: 1, 2, 4, 8, 32"),
    ("-m bits=1,three", "bits=three: allowed: a whole number"),
    ("bits=three", "bits=three: allowed: a whole number"),
    ("depth=9", "depth=9: a wide ResNet has 6n + 2 convolutions; allowed: 8, 14, 20, 26, ..."),
    ("width=0", "width=0: allowed: a number above 0, up to 1000"),
    ("width=2.5", "width=2.5: a wide ResNet's stages have 16, 32 and 64 channels times a whole number"),
    ("width=wide", "width=wide: allowed: a number"),
    ("depth=10004", "depth=10004: a wide ResNet has 6n + 2 convolutions; allowed: 8, 14, 20, 26, ... up to 9998"),
    ("depth=-8", "depth=-8: a wide ResNet has 6n + 2 convolutions; allowed: 8, 14, 20, 26, ..."),
    ("seeds=1 seeds=1.5", "seeds=1.5: allowed: a whole number"),
    ("recipe.lr=abc", "recipe.lr=abc: allowed: a number"),
    ("recipe.epochs=null", "recipe.epochs=null: allowed: anything but null"),
    ("nonsense=1", "nonsense=1: no such key; allowed: model, norm, dataset, preset, recipe, design, "),
    ("-m nonsense=1,2", "nonsense=1: no such key; allowed: model, norm, "),
    ("+nonsense=1", "nonsense=1: no such key; allowed: model, norm, "),
    ("wdith=2", "wdith=2: no such key; did you mean width?"),
    ("recipe.lrr=2", "recipe.lrr=2: no such key; did you mean lr?"),
    ("-m seeds=0", "seeds=0: allowed: 1 to 10000"),
    ("-m seeds=1,2", "seeds=1,2: seeds is the number of replicates; allowed: one whole number"),
    ("-m seed=1", "seed=1: seed is for one trial, without -m; allowed with -m: seeds=N"),
    ("-m dispatch.cpus_per_trial=1,2", "dispatch.cpus_per_trial=1,2: dispatch.cpus_per_trial says where or how"),
    ("dataset=fashion_mnist dataset.root=nowhere", "dataset=fashion_mnist: its files are not in dataset.root=n"),
    ("bits=1,32", "bits=1,32: several levels are a sweep, and a sweep needs -m"),
    ("bits=range(1,2)", "bits=range(1,2): several levels are a sweep, and a sweep needs -m"),
    ("-m norm=bn,srelu norm.temperature=1,2", "norm.temperature=1: norm=bn has no such key; allowed: affine, eps"),
    ("norm=srelu norm.temperature=0", "norm.temperature=0: allowed: a number above 0"),
    ("norm=srelu norm.floor=low", "norm.floor=low: allowed: a number"),
    ("norm.affine=maybe", "norm.affine=maybe: allowed: true, false"),
    ("-m norm.eps=0,1e-5", "norm.eps=0: allowed: a number above 0"),
    ("norm._target_=foo", "norm._target_=foo: no such module; allowed: package.module.Name"),
    ("norm._target_=ablate.networks.nrom.bn", "norm._target_=ablate.networks.nrom.bn: no such module; allowed: "),
    ("width=100000000000000000000", "width=100000000000000000000: allowed: a number above 0, up to 1000"),
    ("model.padding=same", "model.padding=same: allowed: torch, tf"),
    ("model.residual=maybe", "model.residual=maybe: allowed: true, false"),
    ("norm=gn norm.groups=5", "norm.groups=5: allowed: a divisor of the narrowest stage's 32 channels"),
    ("norm=none norm.temperature=-1", "norm.temperature=-1: allowed: a number above 0"),
    ("norm=[bn,srelu]", "norm: allowed: one of its options; levels of a factor are -m norm=a,b"),
    ("-m norm=[bn,srelu] bits=1,32", "norm: allowed: one of its options; "),
    ("~norm", "norm: allowed: one of its options; "),
    ("recipe.augment=foo", "recipe.augment=foo: allowed: none, crop, light, cutout"),
    ("recipe.precision=fp8", "recipe.precision=fp8: allowed: fp32, tf32, bf16, fp16"),
    ("dispatch.gpus_per_trial=0 recipe.precision=tf32", "recipe.precision=tf32: not on this CPU; allowed here: fp32, "),
    ("dispatch.gpus_per_trial=0.5 mode=plan", "dispatch.gpus_per_trial=0.5: allowed: 0, as nvidia-smi reports no GPU"),
    ("recipe.micro_batch=0", "recipe.micro_batch=0: allowed: 1 or more"),
    (
        "recipe.compile=true recipe.micro_batch=17",
        "recipe.micro_batch=17: with recipe.compile=true allowed: a divisor of ",
    ),
    ("dispatch=cluster", "dispatch=cluster: without -m a trial runs in this process; allowed: with -m"),
    ("-m dispatch.address=auto", "dispatch.address=auto: for a cluster; allowed: with dispatch=cluster"),
    ("-m dispatch=cluster dispatch.address=ray://h:1", "dispatch.address=ray://h:1: Ray Client does not stream"),
    (
        "-m dispatch=cluster dispatch.workers_per_trial=2 storage=s3://b/p",
        "dispatch.workers_per_trial=2 storage=s3://b/p: a trial's processes share its run directory; allowed with ",
    ),
    ("track.uri=server", "track=server: MLFLOW_TRACKING_URI is not set; allowed: "),
    ("track.uri=http://mia:pw@h:5000", "track.uri=http://...@h:5000: holds a password, which would be kept and "),
    ("-m tune=random tune.storage=mysql://mia:pw@h/d", "tune.storage=mysql://...@h/d: holds a password, "),
    ("-m dispatch.workers_per_trial=0", "dispatch.workers_per_trial=0: allowed: 1 or more"),
    (
        "dispatch.workers_per_trial=2",
        "dispatch.workers_per_trial=2: without -m a trial runs in this process; allowed: 1",
    ),
    (
        "-m dispatch.workers_per_trial=2 dispatch=in_process",
        "dispatch.workers_per_trial=2: with dispatch=in_process allowed: 1",
    ),
    (
        "-m dispatch.workers_per_trial=2 recipe.shards=2,3",
        "dispatch.workers_per_trial=2: allowed: 1, or recipe.shards=3",
    ),
    (
        "-m dispatch.workers_per_trial=2 recipe.compile=true",
        "recipe.compile=true: with dispatch.workers_per_trial=2 allowed: false",
    ),
    (
        "-m dispatch.workers_per_trial=2 dispatch.gpus_per_trial=0.5",
        "dispatch.gpus_per_trial=0.5: each of dispatch.workers_per_trial=2 has it; allowed: 0, or whole GPUs",
    ),
    ("recipe.shards=0", "recipe.shards=0: allowed: 1 or more"),
    ("recipe.shards=126", "recipe.shards=126: allowed: up to recipe.batch_size=125"),
    ("recipe.shards=2 recipe.micro_batch=10", "recipe.micro_batch=10: with recipe.shards=2 allowed: null"),
    ("norm.sync=maybe", "norm.sync=maybe: allowed: true, false"),
    ("recipe.compile=maybe", "recipe.compile=maybe: allowed: true or false"),
    ("dataset.valid_fraction=0.9", "dataset.valid_fraction=0.9: allowed: 0 to 0.5"),
    ("recipe.lr=0", "recipe.lr=0: allowed: a number above 0"),
    ("dataset=synthetic dataset.size=2", "dataset.size=2: allowed: a whole number from 4 up"),
    ("-m bits=interval(1,2)", "bits=interval(1,2): allowed: a,b range(1,4) choice(a,b) glob(*)"),
    ("-m norm=glob(x*)", "norm=glob(x*): no level matches; allowed: bn, bn_fixed, gn, ln, none, srelu"),
    ("norm=[", "norm=[: allowed: key=value, with quotes around a value that holds more than"),
    ("bits", "bits: allowed: key=value, "),
    ("study=a/b", "study=a/b: allowed: up to 100 letters, digits, and _ . + - after the first"),
    ("-m --cfg job", "--cfg, --info and --run go without -m; with -m, mode=plan shows what would run"),
    ("track.uri=file.txt", "track.uri=file.txt: allowed: sqlite:///FILE, http://HOST:PORT"),
    ("track.uri=sqlite:///file.txt", "track.uri=sqlite:///file.txt: file.txt is a file, but not an SQLite database"),
    ("track.uri=sqlite:///file.txt/m.db", "track.uri=sqlite:///file.txt/m.db: "),
    ("track.uri=sqlite:///.", "track.uri=sqlite:///.: . is a folder; allowed: "),
    ("track.uri=http://127.0.0.1:9", "track.uri=http://127.0.0.1:9: no server answers there (Connection refused)"),
    ("track.uri=mssql+pymssql://u@h/d", "track.uri=mssql+pymssql://u@h/d: its driver pymssql is not installed; "),
    ("track.uri=postgresql", "track.uri=postgresql: not a database's address; allowed: sqlite:///FILE, "),
    ("seeds=5", "seeds=5: seeds is for a study, with -m; without -m there is one trial, and seed=N"),
    ("runs=file.txt", "runs=file.txt: "),
    ("runs=", "runs=: allowed: a folder"),
    ("norm=null", "a group cannot be null: norm=null; allowed: one of its options"),
    ("-m norm=bn,null", "a group cannot be null: -m norm=bn,null; allowed: "),
    ("seeds=1 -m bits=1,32", "-m: keys stand before it and after it; allowed: -m first"),
    ("recipe.lr=inf", "recipe.lr=Infinity: allowed: a number above 0"),
    ("runs=/proc/none", "runs=/proc/none: cannot be made: "),
    ("+recipe.foo=1", "recipe.foo=1: no such key; allowed: epochs, "),
    ("-m seeds=99999999", "seeds=99999999: allowed: 1 to 10000"),
    (f"study={'x' * 101}", f"study={'x' * 101}: allowed: up to 100 letters"),
]


@pytest.mark.parametrize(("line", "message"), USER_ERRORS)
def test_a_user_error_is_one_line_and_exit_status_2_and_starts_nothing(folder, say, line, message):
    (folder / "file.txt").write_text("not a database")
    status, out, err = say("ablate.run", *line.split())
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert "+nonsense" not in err.removeprefix("+nonsense")
    assert [path.name for path in folder.iterdir()] == ["file.txt"]


def test_hydra_full_error_shows_the_stack(folder):
    typed = type_line("nonsense=1", folder, HYDRA_FULL_ERROR="1")
    assert typed.returncode == 1
    assert "Traceback" in typed.stderr


@pytest.mark.parametrize("line", ["-m bits=1,32 mode=plan", "norm=bm", "depth=9"])
def test_a_command_that_trains_nothing_imports_no_torch(folder, line):
    typed = type_line(line, folder, PYTHONPROFILEIMPORTTIME="1")
    imported = {row.rpartition("|")[2].strip() for row in typed.stderr.splitlines() if row.startswith("import time")}
    assert "hydra" in imported
    assert not imported & {"torch", "mlflow", "ray"}


def test_help_comes_without_what_runs_a_study(folder):
    typed = type_line("--help", folder, PYTHONPROFILEIMPORTTIME="1")
    assert "  norm=bn " in typed.stdout
    assert "python -m ablate.run -m norm=bn,srelu bits=1,32" in typed.stdout
    imported = {row.rpartition("|")[2].strip() for row in typed.stderr.splitlines() if row.startswith("import time")}
    assert "ablate.cli.help_text" in imported
    assert not imported & {"numpy", "rich", "ablate.driver.study_run", "ablate.planning.plan"}


def test_hydras_completion_is_refused_for_ours(folder, say):
    status, out, err = say("ablate.run", "-sc", "install=bash")
    assert (status, out) == (2, "")
    assert err == '-sc: completes nothing here; allowed: eval "$(ablate completion bash)", or zsh or fish\n'


def test_cfg_prints_the_config(folder):
    assert "valid_fraction: 0.1" in type_line("--cfg job", folder).stdout


def type_line(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ablate.run", *line.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "times"), [([], 1), (["hydra.verbose=false"], 2), (["-m", "bits=1,32"], 2), (["-m", "norm=bn,srelu"], 3)]
)
def test_hydra_composes_a_line_no_more_often_than_it_needs_to(folder, say, monkeypatch, words, times):
    """With -m once for the line, and once for each combination of groups."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    composed, real = [], ConfigLoaderImpl.load_configuration

    def load(*args, **options):
        composed.append(options)
        return real(*args, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load)
    status, _, err = say("ablate.run", *words, "mode=plan", "track=off")
    assert (status, err) == (0, "")
    assert len(composed) == times
