"""Generated pages are what the code makes of them today."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from agents.cli.main import riverloop, subcommands
from agents.settings import Settings
from docs.make import reference
from docs.make.pictures import demo as picture

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", reference.pages())
def test_a_reference_page_is_what_the_code_says_today(name: str) -> None:
    path = reference.FOLDER / name
    assert path.is_file(), "run: python -m docs.make.reference"
    assert path.read_text("utf-8") == reference.pages()[name], "run: python -m docs.make.reference"


def test_every_command_with_all_its_options_is_on_its_page() -> None:
    page = reference.commands()

    def leaves(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            return [(name, command)]
        return [leaf for each, sub in subcommands(command).items() for leaf in leaves(sub, f"{name} {each}")]

    top, *sections = page.split("\n## ")
    by_name = {title: text for title, _, text in (each.partition("\n") for each in sections)}
    callbacks: dict[object, str] = {}
    for name, command in leaves(riverloop, "riverloop"):
        section = by_name[name.removeprefix("riverloop ")]
        if (first := callbacks.setdefault(command.callback, name)) != name:
            assert section.strip() == f"The same as `{first}`."
            continue
        options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        settings = {each.name for each in fields(Settings)} if name == "riverloop worker" else set()
        at_top = set(reference.UNNAMED)
        if "the command options" in section:
            at_top |= set(reference.OF_A_COMMAND)
        for option in options:
            where = top if option.opts[0] in at_top else section
            assert option.opts[0] in where or option.name in settings, f"{name} {option.opts[0]}"
        assert "```sh\nriverloop " in section, f"{name} has no example"


def test_the_pages_are_written_and_then_no_longer_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        reference.main(["--check"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.count("stale") == len(reference.pages())
    reference.main([], standalone_mode=False)
    reference.main(["--check"], standalone_mode=False)
    assert f"`{fields(Settings)[0].name}`" in (tmp_path / "settings.md").read_text("utf-8")


def test_the_picture_is_drawn_from_the_recorded_screen_and_fetches_nothing() -> None:
    drawn = picture.PICTURE.read_text("utf-8")
    assert drawn == picture.draw(picture.SCREEN.read_text("utf-8")), "run: python -m docs.make.pictures.demo"
    assert not re.search(r"url\(.?http|<image|<script|@import", drawn)


def test_the_screen_in_the_readme_is_the_recorded_one() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"```text\n(.*?)\n```", readme, re.DOTALL)
    assert block is not None
    screen = picture.plain(picture.SCREEN.read_text("utf-8"))
    assert block[1] in screen
    assert "│ none" in block[1]
    assert "0.6981278082875686" in block[1]
