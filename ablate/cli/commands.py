"""The commands of ablate: what each is for, the config of its keys, and examples of its lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        module: the module whose `main` it is.
        config: the file of conf/ with its keys, without ending.
        summary: what it is for.
        examples: what one types after the command, and what that does.
        sweeps: whether it takes -m.
        chosen: group -> option, where its default is another than that of `config`.
    """

    module: str
    config: str
    summary: str
    examples: tuple[tuple[str, str], ...]
    sweeps: bool = False
    chosen: Mapping[str, str] = field(default_factory=dict)


COMMANDS = {
    "run": Command(
        module="ablate.run",
        config="config",
        summary="Plan, run and track a study, or one trial.",
        examples=(
            ("-m norm=bn,srelu bits=1,32", "every combination, 3 seeds each"),
            ("-m norm=bn,srelu bits=1,32 mode=plan", "show what would run"),
            ("-m norm=bn,srelu seeds=auto", "more seeds where undecided"),
            ("-m norm=bn,srelu width=1,2 design=one_factor", "fewer cells"),
            ("-m norm=bn,srelu tune=tpe tune.space.recipe.lr=0.01,0.1", ""),
            ("-m preset=code_table scale=smoke", "a table of a paper"),
            ("norm=srelu", "one trial, in this process"),
            ("trial=ID", "a trial again: see `ablate replay`"),
        ),
        sweeps=True,
    ),
    "report": Command(
        module="ablate.report",
        config="report",
        summary="Margins, tests, tables and plots of a study.",
        examples=(
            ("", "your study that was requested last"),
            ("study=digits-bits-norm", "a study by name"),
            ("study=[a,b]", "several side by side"),
            ("contrast.factor=bits contrast.levels=[32,1]", ""),
            ("source=published", "the papers' own numbers"),
            ("source=csv path=FILE metric=acc factors=[norm,width]", ""),
            ("study=NAME metric=acc factors=[a,b]", "any MLflow experiment"),
        ),
    ),
    "studies": Command(
        module="ablate.studies",
        config="studies",
        summary="The studies of a runs folder: list, show, remove.",
        examples=(
            ("", "list all of them"),
            ("study=digits-bits-norm", "its cells and trials"),
            ("study=OLD rename=NEW", "nothing is trained again"),
            ("trial=ID", "its config, curve, log and files"),
            ("remove=digits-bits-norm", "remove it, and its MLflow experiment"),
            ("jobs=http://HOST:8265", "those sent to a cluster"),
            ("jobs=... follow=NAME", "print the output of one"),
            ("jobs=... stop=NAME", "its trials write checkpoints"),
        ),
    ),
    "replay": Command(
        module="ablate.replay",
        config="replay",
        summary="Run a trial again: are its numbers equal?",
        examples=(("trial=ID", "elsewhere, on as many threads"),),
    ),
    "evaluate": Command(
        module="ablate.evaluate",
        config="evaluate",
        summary="Test accuracy of a trained network.",
        examples=(
            ("trial=ID", "a finished trial on its own test images"),
            ("trial=ID dataset=image_folder dataset.root=DIR", "on yours"),
            ("weights=exports/ID/network.onnx", "a file of ablate.export"),
            ("weights=CIFAR10_allparams.mat", "the authors' weights"),
            ("weights=CIFAR100_allparams.mat dataset=cifar100", ""),
        ),
    ),
    "export": Command(
        module="ablate.export",
        config="export",
        summary="A trained network as a file for use elsewhere.",
        examples=(
            ("trial=ID", "safetensors, packed weights"),
            ("trial=ID format=onnx", "for readers of ONNX"),
            ("trial=ID format=c name=digits", "C99 and a test program"),
            ("trial=best study=NAME", "its best by validation accuracy"),
            ("trial=ID register=NAME", "and into MLflow's model registry"),
        ),
    ),
    "submit": Command(
        module="ablate.submit",
        config="config",
        summary="Send a study to a cluster, which runs it without you.",
        examples=(
            ("-m norm=bn,srelu runs=/shared/runs", ""),
            ("-m norm=bn,srelu runs=/shared/runs track=off", "without MLflow"),
        ),
        sweeps=True,
        chosen={"dispatch": "cluster", "track": "server"},
    ),
    "track": Command(
        module="ablate.track",
        config="track_command",
        summary="Deliver to MLflow what it lacks of a study.",
        examples=(
            ("study=digits-bits-norm", ""),
            ("study=NAME track.uri=http://HOST:5000", "to another MLflow"),
        ),
    ),
}
"""The commands by their names, in the order in which they are shown."""

FLAGS = (
    ("--multirun", "-m", "several levels of a key make a study; before the keys"),
    ("--config-dir=", "--config-dir=DIR", "also the groups of a folder of yours: DIR/norm/leaky.yaml"),
    ("--cfg", "--cfg job", "print the config, and end"),
    ("--help", "--help", "this text; with group=option: that option's defaults"),
    ("--hydra-help", "--hydra-help", "flags of Hydra, which reads the line"),
)
"""Each flag as completion offers it, as the help shows it, and its meaning."""
