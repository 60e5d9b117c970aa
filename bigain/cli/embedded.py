"""Commands that prepare the data and train the models of the embedded study; running the study needs none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigain.cli.options import TRAINING_PANEL, Seed

app = typer.Typer()
train_app = typer.Typer(no_args_is_help=True, help="Train the autoencoder, the backbones and the feature network.")

Data = Annotated[Path, typer.Option(help="Folder with the official Fashion-MNIST files.")]
Work = Annotated[Path, typer.Option(help="Folder for checkpoints and logs; a stopped training resumes there.")]
Target = Annotated[Path, typer.Option(help="File of the finished model: its config, index or weights.")]
Autoencoder = Annotated[Path, typer.Option(help="The config.json of the trained autoencoder.")]
Start = Annotated[Path | None, typer.Option(help="Finished pipeline whose weights initialise the training.")]
Steps = Annotated[int | None, typer.Option(help="Number of steps, instead of the recipe's.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]


@app.command("prepare-fashion", rich_help_panel=TRAINING_PANEL)
def prepare_fashion(
    data: Data,
    folder: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("resources/fashion"),
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    per_class: Annotated[int, typer.Option(help="Items of every class.")] = 200,
    scenes: Annotated[int, typer.Option(help="Scenes composed of the items.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Extract the committed part of a Fashion-MNIST split.

    It holds the first items of every class, and scenes composed of them.
    """
    from bigain.datasets.fashion_study import write_items, write_scenes

    _, labels = write_items(data, split, folder, per_class)
    if scenes:
        write_scenes(folder, labels, scenes, seed)


@app.command("fetch-fashion", rich_help_panel=TRAINING_PANEL)
def fetch_fashion(to: Annotated[Path, typer.Option(help="Folder for the four .gz files.")]) -> None:
    """Download the official Fashion-MNIST files, which only training needs."""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(to), download=True)
    raw = to / "FashionMNIST" / "raw"
    for archive in raw.glob("*.gz"):
        archive.rename(to / archive.name)
    typer.echo(f"Fashion-MNIST is in {to}")


@train_app.command("autoencoder")
def train_autoencoder(data: Data, work: Work, output: Target, seed: Seed = 0, threads: Threads = 2) -> None:
    """Train the KL autoencoder that the backbones share."""
    from bigain.training import embedded

    embedded.autoencoder(data, work, output.parent, seed, threads)


@train_app.command("unet")
def train_unet(
    data: Data,
    autoencoder: Autoencoder,
    work: Work,
    output: Target,
    seed: Seed = 0,
    threads: Threads = 1,
    steps: Steps = None,
    start: Start = None,
) -> None:
    """Train `mini_unet`, a StableDiffusionPipeline."""
    from bigain.training import embedded

    embedded.unet(data, autoencoder.parent, work, output.parent, seed, threads, steps, start)


@train_app.command("dit")
def train_dit(
    data: Data,
    autoencoder: Autoencoder,
    work: Work,
    output: Target,
    seed: Seed = 0,
    threads: Threads = 1,
    steps: Steps = None,
    start: Start = None,
) -> None:
    """Train `mini_dit`, a DiTPipeline."""
    from bigain.training import embedded

    embedded.dit(data, autoencoder.parent, work, output.parent, seed, threads, steps, start)


@train_app.command("mmdit")
def train_mmdit(
    data: Data,
    work: Work,
    output: Target,
    unet: Annotated[Path, typer.Option(help="The model_index.json of `mini_unet`: its autoencoder and text encoder.")],
    dit: Annotated[
        Path | None, typer.Option(help="The model_index.json of `mini_dit`, whose blocks initialise the image stream.")
    ] = None,
    seed: Seed = 0,
    threads: Threads = 1,
    steps: Steps = None,
    start: Start = None,
) -> None:
    """Train `mini_mmdit`, a StableDiffusion3Pipeline."""
    from bigain.training import embedded

    blocks = None if dit is None else dit.parent
    embedded.mmdit(data, unet.parent, blocks, work, output.parent, seed, threads, steps, start)


@train_app.command("features")
def train_features(data: Data, work: Work, output: Target, seed: Seed = 0, threads: Threads = 1) -> None:
    """Train `fashion-net`, the feature network."""
    from bigain.training import embedded

    embedded.features(data, work, output, seed, threads)
