"""The commands that made the embedded study's data and models; the study itself needs none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
train_app = typer.Typer(no_args_is_help=True, help="Train the embedded models (outside the study).")


@app.command("prepare-fashion")
def prepare_fashion(
    data: Annotated[Path, typer.Option(help="the folder with the official Fashion-MNIST files")],
    folder: Annotated[Path, typer.Option()] = Path("resources/fashion"),
    split: Annotated[str, typer.Option(help="train or test")] = "test",
    per_class: int = 200,
    scenes: int = 1000,
    seed: int = 0,
) -> None:
    """Make the committed part of a split: its first items of every class, and scenes of them."""
    from bigain.datasets.fashion_study import write_items, write_scenes

    _, labels = write_items(data, split, folder, per_class)
    if scenes:
        write_scenes(folder, labels, scenes, seed)


@app.command("fetch-fashion")
def fetch_fashion(to: Annotated[Path, typer.Option(help="where the four .gz files go")]) -> None:
    """Download the official Fashion-MNIST files with torchvision (only training needs them)."""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(to), download=True)
    raw = to / "FashionMNIST" / "raw"
    for archive in raw.glob("*.gz"):
        archive.rename(to / archive.name)
    typer.echo(f"Fashion-MNIST is in {to}")


Data = Annotated[Path, typer.Option(help="the folder with the official Fashion-MNIST files")]
Work = Annotated[Path, typer.Option(help="checkpoints and logs; a stopped training goes on from here")]
Target = Annotated[Path, typer.Option(help="the finished model's own file: its config, index or weights")]
Autoencoder = Annotated[Path, typer.Option(help="the config.json of the trained autoencoder")]
Start = Annotated[Path | None, typer.Option(help="a finished pipeline whose weights to go on from")]
Steps = Annotated[int | None, typer.Option(help="instead of the recipe's number of steps")]


@train_app.command("autoencoder")
def train_autoencoder(data: Data, work: Work, output: Target, seed: int = 0, threads: int = 2) -> None:
    """The shared KL autoencoder."""
    from bigain.training import embedded

    embedded.autoencoder(data, work, output.parent, seed, threads)


@train_app.command("unet")
def train_unet(
    data: Data,
    autoencoder: Autoencoder,
    work: Work,
    output: Target,
    seed: int = 0,
    threads: int = 1,
    steps: Steps = None,
    start: Start = None,
) -> None:
    """`mini_unet`, a StableDiffusionPipeline."""
    from bigain.training import embedded

    embedded.unet(data, autoencoder.parent, work, output.parent, seed, threads, steps, start)


@train_app.command("dit")
def train_dit(
    data: Data,
    autoencoder: Autoencoder,
    work: Work,
    output: Target,
    seed: int = 0,
    threads: int = 1,
    steps: Steps = None,
    start: Start = None,
) -> None:
    """`mini_dit`, a DiTPipeline."""
    from bigain.training import embedded

    embedded.dit(data, autoencoder.parent, work, output.parent, seed, threads, steps, start)


@train_app.command("features")
def train_features(data: Data, work: Work, output: Target, seed: int = 0, threads: int = 1) -> None:
    """`fashion-net`, the feature network."""
    from bigain.training import embedded

    embedded.features(data, work, output, seed, threads)
