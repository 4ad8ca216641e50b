from __future__ import annotations

from pathlib import Path

import pytest

from ablate.core import hardware
from ablate.core.errors import UsageError

RECIPE = {"precision": "fp32", "compile": False}


@pytest.fixture(autouse=True)
def fresh():
    """A process reads what its machine has once."""
    for cached in (hardware._cpu_flags, hardware.gpu_bytes, hardware.gpu_capabilities):
        cached.cache_clear()
    yield
    for cached in (hardware._cpu_flags, hardware.gpu_bytes, hardware.gpu_capabilities):
        cached.cache_clear()


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """cpu(line): /proc/cpuinfo is this."""

    def is_like(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")

    return is_like


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """gpus("8.0", "7.5"): an nvidia-smi that reports these compute capabilities."""

    def are_like(*capabilities):
        lines = "\\n".join(capabilities)
        script = f'#!/bin/sh\ncase "$1" in *compute_cap*) printf "{lines}\\n" ;; *) printf "81559\\n" ;; esac\n'
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return are_like


OLD = "processor : 0\nflags\t\t: fpu sse2 avx2\n"
NEW = "processor : 0\nflags\t\t: fpu avx512f avx512_bf16 avx512_fp16 amx_bf16\n"
ARM = "processor : 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("info", "allowed", "slow"),
    [
        (OLD, ("fp32", "bf16"), True),
        (NEW, ("fp32", "bf16", "fp16"), False),
        (ARM, ("fp32", "bf16"), False),
        ("", ("fp32", "bf16"), True),
    ],
)
def test_a_cpus_precisions_follow_from_its_flags_and_slow_ones_give_a_warning(cpu, info, allowed, slow):
    cpu(info)
    assert hardware.precisions("cpu") == allowed
    for precision in allowed:
        warning = hardware.check_recipe({**RECIPE, "precision": precision}, "cpu")
        assert (warning is not None) == (slow and precision == "bf16")
        assert warning is None or warning.startswith("recipe.precision=bf16: this CPU has no instructions for it")


def test_a_precision_that_the_device_lacks_is_refused_by_name(cpu):
    cpu(OLD)
    for precision in ("fp16", "tf32"):
        with pytest.raises(UsageError, match=f"precision={precision}: not on this CPU; allowed here: fp32, bf16$"):
            hardware.check_recipe({**RECIPE, "precision": precision}, "cpu")


def test_the_oldest_gpu_decides_on_the_precisions(gpus):
    gpus("9.0", "8.0")
    assert hardware.precisions("cuda") == ("fp32", "tf32", "bf16", "fp16")
    hardware.gpu_capabilities.cache_clear()
    gpus("9.0", "7.5")
    with pytest.raises(UsageError, match=r"precision=bf16: not on this GPU; allowed here: fp32, fp16$"):
        hardware.check_recipe({**RECIPE, "precision": "bf16"}, "cuda")
    assert hardware.gpu_bytes() == (81559 * 2**20,)


@pytest.mark.parametrize(
    ("kind", "compiler", "variable"), [("cpu", r"a C\+\+ compiler", "CXX"), ("cuda", "a C compiler", "CC")]
)
def test_compiling_without_a_compiler_is_refused_with_how_to_get_one(monkeypatch, tmp_path, kind, compiler, variable):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    compiling = {**RECIPE, "compile": True}
    with pytest.raises(UsageError, match=f"compile=true: on a [CG]PU needs {compiler} .* allowed: false$"):
        hardware.check_recipe(compiling, kind)
    Path(tmp_path / "mine").write_text("#!/bin/sh\n")
    Path(tmp_path / "mine").chmod(0o755)
    monkeypatch.setenv(variable, "mine")
    headers = tmp_path / "include"
    headers.mkdir()
    monkeypatch.setattr(hardware.sysconfig, "get_path", lambda _name: str(headers))
    with pytest.raises(UsageError, match="Python's headers"):
        hardware.check_recipe(compiling, kind)
    (headers / "Python.h").touch()
    assert hardware.check_recipe(compiling, kind) is None


def test_the_folder_of_compiled_code_must_be_writable(monkeypatch, tmp_path):
    compiling = {**RECIPE, "compile": True}
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "new" / "folder"))
    assert hardware.check_recipe(compiling, "cpu") is None
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "folder"))
    with pytest.raises(UsageError, match=r"^TORCHINDUCTOR_CACHE_DIR=.*/file/folder: cannot be written to"):
        hardware.check_recipe(compiling, "cpu")
    assert hardware.check_recipe(RECIPE, "cpu") is None


def test_a_gpu_that_is_not_there_is_refused(monkeypatch, tmp_path, gpus):
    monkeypatch.setenv("PATH", str(tmp_path))
    hardware.check_gpus(None)
    hardware.check_gpus(0)
    with pytest.raises(UsageError, match=r"dispatch.gpus_per_trial=1: allowed: 0, as nvidia-smi reports"):
        hardware.check_gpus(1)
    hardware.gpu_bytes.cache_clear()
    gpus("8.0")
    hardware.check_gpus(1)
