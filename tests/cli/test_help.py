"""`bigain --help` says what every command and option does."""

import pytest
import typer
from typer.testing import CliRunner

from bigain.cli import options
from bigain.cli.main import app

PANELS = {value for name, value in vars(options).items() if name.endswith("_PANEL")}


def commands():
    top = typer.main.get_command(app).commands
    return top | {f"train {name}": command for name, command in top["train"].commands.items()}


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_option_is_explained(name):
    command = commands()[name]
    summary = command.help.splitlines()[0]
    assert summary[0].isupper()
    assert summary.endswith(".")
    for parameter in command.params:
        assert parameter.name == "help" or getattr(parameter, "help", None), parameter.name


def test_every_command_is_in_a_panel():
    visible = [command for command in typer.main.get_command(app).commands.values() if not command.hidden]
    assert {command.rich_help_panel for command in visible} == PANELS


def test_help_is_printed():
    shown = CliRunner().invoke(app, ["--help"]).output
    assert all(panel in shown for panel in PANELS)
    assert " warm " not in shown
