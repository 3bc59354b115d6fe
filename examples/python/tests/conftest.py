"""Models and texts that build/catalogue makes: small, and one can say what they must answer."""
import os
import pathlib
import subprocess
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    subprocess.run([os.environ.get("KPD_CATALOGUE", str(ROOT / "build/catalogue")), str(folder)], check=True)
    lines = (folder / "keyphrases.tsv").read_text().splitlines()
    return types.SimpleNamespace(
        folder=folder, student=str(folder / "student.kpd"), assistant=str(folder / "assistant.kpd"),
        items=[tuple(line.split("\t")) for line in (folder / "items.tsv").read_text().splitlines()],
        phrases={int(number): phrase for number, phrase in (line.split("\t") for line in lines)})
