"""The command that scores a network one already has: score."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from legible.bench.cli.app import app
from legible.bench.cli.options import DataRoot, Device, Plugins, Results, Some, names, some

Numbers = Annotated[
    str | None, typer.Option(metavar="A,B,C", help="One for each channel; pixels are 0 to 1")
]


@app.command(
    epilog="Example: legible score torchvision:resnet50 --weights w.safetensors "
    "--data 'imagefolder(path=photos,size=224)' --layers layer3,layer4"
)
def score(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK", help="torchvision:NAME, timm:NAME, FILE.py:FUNCTION or a backbone"
        ),
    ],
    data: Annotated[str, typer.Option(help="A dataset: NAME, NAME:PATH or 'NAME(key=value,...)'")],
    weights: Annotated[
        str, typer.Option(help="A .safetensors or .pth file, or pretrained; default: random")
    ] = "",
    layers: Some = None,
    class_map: Annotated[
        Path | None, typer.Option(help="CSV or JSON: class of the data, output of the head")
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="A,B", help="headline, all, or names of metrics")
    ] = "headline",
    images: Annotated[int, typer.Option(help="Number of images, from the first on")] = 1000,
    split: Annotated[str, typer.Option(help="test, validation or train")] = "test",
    mean: Numbers = None,
    std: Numbers = None,
    name: Annotated[
        str, typer.Option(help="The folder's name below RESULTS/scored; default: from the names")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of random weights and of the metrics")] = 0,
    device: Device = "auto",
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("results"),
) -> None:
    """Score a network that you have, beside an untrained twin and cheap tricks.

    Writes a page and a table to RESULTS/scored/NAME.
    """
    from legible.bench.one_network.scored_network import ScoreRequest, score_one

    choice = names(metrics) or []
    request = ScoreRequest(
        network=network, data=data, weights=weights, layers=some("layers", layers) or (),
        class_map=class_map, metrics=choice[0] if len(choice) == 1 else choice, images=images,
        split=split, mean=_numbers("mean", mean), std=_numbers("std", std), name=name, seed=seed,
        device=device, plugins=plugin or (), data_root=data_root, results=results,
        command=shlex.join(["legible", *sys.argv[1:]]),
    )  # fmt: skip
    print(score_one(request, lambda text: print(text, file=sys.stderr)).page)


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    parts = some(option, text)
    if parts is None:
        return None
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise typer.BadParameter(f"--{option} takes numbers, like 0.485,0.456,0.406") from None
