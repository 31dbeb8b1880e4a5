"""Train a facial-expression classifier.

fer-hailo train                  the seed recipe on fer2013/
fer-hailo train --config configs/finetune.yaml --data fer2013.zip
fer-hailo train --config configs/released.yaml   several steps, each from the model of the one before
fer-hailo train --arch resnet18  another network, by its own recipe
fer-hailo train --list           all networks: size, cost, licence of weights, where they can go
fer-hailo train --resume         go on with the newest interrupted run
fer-hailo train --selected-by RUN   the settings of a validated run on all of train, for a release
fer-hailo train --quantise RUN   fine-tune a run's network, or a released one, for 8 bits
fer-hailo train --data-report    what the data holds, without training
fer-hailo train --data-report RUN [RUN ...]   and the images whose labels these runs doubt
fer-hailo train --drop confirmed.csv   without the images that a person has confirmed to be mislabelled
fer-hailo train --save-split DIR     the split as folders train, val and test, without training
fer-hailo train --smoke          both stages on drawn faces, in under two minutes
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_hailo.common.cli import command_parser
from fer_hailo.common.config import Config, add_flags, config_values, flag_values, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.resources import recipes, resource
from fer_hailo.common.runs import RUNS, new_run, newest_run
from fer_hailo.common.steps import load_steps


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("train", __doc__)
    parser.add_argument("--config", metavar="FILE", help="YAML file of overrides, see configs/")
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"run folder [{RUNS}/DATE-TIME_ARCH_sSEED]")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        nargs="?",
        const="",
        help="go on with RUN, by default the newest unfinished one",
    )
    parser.add_argument(
        "--data-report",
        nargs="*",
        metavar="RUN",
        help="report on the data set and stop; with runs, list the images whose labels they doubt and have "
        "not learnt: those of validation, and by runs of all folds (--fold i/K) those of train",
    )
    parser.add_argument(
        "--save-split", metavar="DIR", type=Path, help="write the split as folders of images and stop"
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="devices to share each batch among (TensorFlow, JAX) [1]",
    )
    parser.add_argument("--list", action="store_true", help="print a table of the networks and stop")
    parser.add_argument("--sample", action="store_true", help="train on the synthetic sample set")
    parser.add_argument("--smoke", action="store_true", help="--sample with configs/smoke.yaml")
    add_flags(parser)
    arguments = parser.parse_args(argv)
    overrides = flag_values(arguments)

    if arguments.list:
        from fer_hailo.training.models.listing import list_networks

        print(list_networks())
        return
    if arguments.resume is not None:
        others = ("config", "out", "smoke", "sample", "data_report", "save_split")
        if any(getattr(arguments, name) not in (None, False) for name in others):
            raise UserError("--resume takes its configuration from the run: give it alone")
        from fer_hailo.training.start import resume

        resume(
            Path(arguments.resume) if arguments.resume else newest_run(done=False),
            overrides,
            arguments.devices,
        )
        return
    if arguments.sample or arguments.smoke:
        from fer_hailo.training.data.sample import write_sample_set

        overrides["data"] = str(
            write_sample_set((arguments.out.parent if arguments.out else RUNS) / "sample")
        )
    recipe = arguments.config or (resource("configs/smoke.yaml") if arguments.smoke else None)
    configs = _steps(recipe, overrides)
    config = configs[-1] if configs else _single(recipe, overrides)
    if arguments.data_report is not None:
        _report(config, arguments, overrides)
        return
    if arguments.save_split:
        from fer_hailo.training.data.dataset import load_dataset
        from fer_hailo.training.data.saved_split import save_split

        print(save_split(load_dataset(config, RUNS / "cache"), arguments.save_split))
        return
    from fer_hailo.training.start import start, start_steps

    run = arguments.out or new_run(config.model.arch, config.seed)
    if configs:
        start_steps(configs, run, arguments.devices)
    else:
        start(config, run, arguments.devices)


def _report(config: Config, arguments: argparse.Namespace, overrides: dict) -> None:
    """Report on the data of the configuration, or of the runs that are named."""
    from fer_hailo.training.evaluate.data_report import write_data_report

    runs, cache, folder = arguments.data_report, RUNS / "cache", arguments.out or RUNS / "data_report"
    doubted = ""
    if runs:
        if arguments.config or set(overrides) - {"data"}:
            raise UserError(
                "--data-report RUN takes the settings of the run: give it --data and --out at most"
            )
        from fer_hailo.training.doubts import settings_of, write_doubts

        config, doubted = settings_of(runs, overrides), "\n\n" + write_doubts(runs, overrides, cache, folder)
    print(write_data_report(config, cache, folder) + doubted)


def _steps(recipe: Path | str | None, overrides: dict) -> tuple[Config, ...]:
    """The configurations of a recipe's steps, or of those of a run that is repeated; else none."""
    alone = [name for name in ("quantise", "selected_by") if overrides.get(name)]
    others = {name: value for name, value in overrides.items() if name not in alone}
    steps = load_steps(recipe, others, recipes())
    if steps and (alone or any(step.data.selected_by for step in steps)):
        name = (alone or ["selected_by"])[0]
        both = f"{name} takes the settings of another run, {recipe} has steps of its own"
        raise UserError(f"{both}: give one without the other")
    if steps or not (config_values(recipe) | overrides).get("selected_by"):
        return steps
    from fer_hailo.training.fit.repeat import repeated_steps

    return repeated_steps(recipe, overrides)


def _single(recipe: Path | str | None, overrides: dict) -> Config:
    """The configuration that another run gives, where one is fine-tuned for 8 bits or repeated on all of
    train; else the recipe's, for which Keras need not be loaded yet.
    """
    values = config_values(recipe) | overrides
    if values.get("quantise"):
        from fer_hailo.training.quantise.settings import quantised_config

        return quantised_config(config_values(resource("configs/quantise.yaml")), values)
    if values.get("selected_by"):
        from fer_hailo.training.fit.repeat import repeated

        config = repeated(recipe, overrides)
        if config:
            return config
    return load_config(recipe, overrides, recipes())
