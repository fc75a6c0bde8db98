"""What a shell is offered: commands, options, and the studies that are there."""

from __future__ import annotations

from tests.acceptance.conftest import Commands


def offered(commands: Commands, *words: str, shell: str = "bash") -> list[str]:
    """What the shell's completion asks for the last word, and gets."""
    line = " ".join(("gloss-tune", *words))
    environment = {
        "_GLOSS_TUNE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words)),
    }
    environment |= {"_TYPER_COMPLETE_ARGS": line}
    return commands.start(env=environment).ended().stdout.split()


def test_commands_options_and_studies_are_offered(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/study.db"
    for name in ("mr-one", "mr-two", "r8"):
        commands("create", "--study", name, "--dataset", "mr", "--rehearse", "--trials", 1)
    assert offered(commands, "status", "--study", "mr") == ["mr-one", "mr-two"]
    assert {"retrain", "report", "reap", "resume"} == set(offered(commands, "re"))
    assert "--watch" in offered(commands, "status", "--w")
    assert offered(commands, "create", "--dataset", "r") == ["r8", "r52"]
    assert offered(commands, "create", "--loss", "tr") == ["triplet"]
    assert "mr-one" in " ".join(offered(commands, "status", "--study", "mr-o", shell="zsh"))


def test_where_nothing_can_be_asked_nothing_is_said(commands: Commands) -> None:
    commands.storage = f"sqlite:///{commands.folder}/missing.db"
    assert offered(commands, "status", "--study", "") == []
    assert not (commands.folder / "missing.db").exists()
