"""The package's face: its public names, its version, the example of its docstring."""

import doctest
import importlib.metadata
import sys

import pytest

import bigain


def test_dir_shows_the_public_names_and_all_of_them_exist():
    assert dir(bigain) == sorted(bigain.__all__)
    assert all(getattr(bigain, name) for name in bigain.__all__)


def test_the_version_is_the_installed_one_or_says_that_none_is(monkeypatch):
    monkeypatch.delitem(vars(bigain), "__version__", raising=False)  # where the API pages were built in this process
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"1.2.3 of {name}")
    assert bigain.__version__ == "1.2.3 of bigain"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert bigain.__version__ == "0+not-installed"


def test_the_classifier_says_which_packages_it_needs(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("bigain.zero_shot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError) as error:
        _ = bigain.DiffusionClassifier
    assert error.value.__notes__ == [
        'bigain.DiffusionClassifier needs the packages of a study: pip install "bigain[study]"'
    ]


def test_the_example_runs(root, monkeypatch):
    monkeypatch.chdir(root)
    assert doctest.testmod(bigain) == (0, 5)
