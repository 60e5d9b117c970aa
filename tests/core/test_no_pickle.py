"""Nothing is executed from data: forbidden calls are searched for in syntax trees, and checksums come first."""

import ast

import pytest
import torch

from bigain.core.files import sha256
from bigain.datasets.download import FetchError, _as_safetensors, _verified
from bigain.measure.features import load_network
from tests.helpers.repository import ROOT

EXECUTING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
HARMLESS = {"UnpicklingError"}  # an exception's class, to catch it
BUILTINS = {"eval", "exec", "compile", "__import__"}
# Methods that execute, or write wherever an archive says, whatever they are called with.
NEVER = {
    *("read_pickle", "to_pickle", "load_state_dict_from_url", "import_module", "unpack_archive"),
    *("extract_archive", "download_and_extract_archive", "unsafe_load", "full_load", "load_all"),
}
WITHOUT_WEIGHTS = ("scheduler", "tokenizer")  # names of classes and of variables that hold them end so


def _last_name(node):
    """Return `load` for both `torch.load` and `load`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is(keywords, name, value):
    return isinstance(keywords.get(name), ast.Constant) and keywords[name].value == value


def _wrong_call(node):
    """Return why a call is forbidden; None if it is not."""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    name, plain = _last_name(node.func), isinstance(node.func, ast.Name)
    owner = _last_name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if (plain and name in BUILTINS) or name in NEVER or (owner == "os" and name in ("system", "popen")):
        return f"{name} executes, or writes anywhere"
    if owner == "torch" and name == "save":
        return "torch.save writes a pickle"
    if owner == "torch" and name == "load" and not _is(keywords, "weights_only", True):
        return "torch.load without weights_only=True"
    if "allow_pickle" in keywords and not _is(keywords, "allow_pickle", False):
        return "allow_pickle"
    if owner == "yaml" and name == "load":
        return "yaml.load instead of yaml.safe_load"
    if name in ("extractall", "extract") and not _is(keywords, "filter", "data"):
        return f"{name} without filter='data'"
    if "shell" in keywords and not _is(keywords, "shell", False):
        return "a shell"
    if "trust_remote_code" in keywords and not _is(keywords, "trust_remote_code", False):
        return "trust_remote_code"
    if (
        name == "from_pretrained"
        and not owner.lower().endswith(WITHOUT_WEIGHTS)
        and not _is(keywords, "use_safetensors", True)
    ):
        return "from_pretrained of weights without use_safetensors=True"
    return None


def wrong(source):
    """List (line, reason) of everything in a module that could execute data."""
    violations = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
            violations += [(node.lineno, f"imports {name}") for name in names if name in EXECUTING]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in EXECUTING:
            violations += [(node.lineno, f"imports {alias.name}") for alias in node.names if alias.name not in HARMLESS]
        elif isinstance(node, ast.Call) and (violation := _wrong_call(node)):
            violations.append((node.lineno, violation))
    return violations


MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "bigain").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_executes_nothing_from_data(module):
    assert wrong((ROOT / module).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "snippet",
    [
        "import pickle",
        "import numpy, joblib.memory",
        "from dill import load",
        "from pickle import UnpicklingError, loads",
        "import marshal as m",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "importlib.import_module(name)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=chosen)",
        "torch.save(state, path)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "archive.extractall(folder)",
        "archive.extractall(folder, filter='fully_trusted')",
        "shutil.unpack_archive(path)",
        "download_and_extract_archive(url, folder)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "AutoencoderKL.from_pretrained(folder)",
        "cls.from_pretrained(folder, use_safetensors=False)",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
    ],
)
def test_code_that_executes_data_is_detected(snippet):
    assert wrong(f"def load(path):\n    {snippet}\n")


@pytest.mark.parametrize(
    "snippet",
    [
        "from pickle import UnpicklingError",
        "model.eval()",
        "re.compile(pattern)",
        "torch.compile(model)",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "yaml.safe_load(text)",
        "archive.extractall(folder, filter='data')",
        "subprocess.run(['git', 'status'])",
        "CLIPTokenizer.from_pretrained(folder)",
        "cls.from_pretrained(folder, use_safetensors=True)",
    ],
)
def test_harmless_code_is_not_reported(snippet):
    assert wrong(snippet) == []


@pytest.fixture
def program(tmp_path):
    """A pickle that would write a file, and that file."""

    class Program:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"weight": Program()}, tmp_path / "pytorch_model.bin")
    return tmp_path / "pytorch_model.bin", tmp_path / "written"


def test_the_inception_is_opened_only_if_its_checksum_is_right(program, monkeypatch):
    path, written = program
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    for identity in (None, "0" * 64):
        with pytest.raises(ValueError, match=r"pytorch_model\.bin is another file, or damaged, and is not opened"):
            load_network("inception", path, identity)
    assert not written.exists()


def test_a_pickle_of_a_hub_is_opened_only_if_its_checksum_is_right(program):
    path, written = program
    size = path.stat().st_size
    with pytest.raises(FetchError, match=r"pytorch_model\.bin is a pickle whose sha256 the hub does not state"):
        _verified(path.parent, path.name, size, None)
    with pytest.raises(FetchError, match=r"pytorch_model\.bin holds more than tensors"):
        _verified(path.parent, path.name, size, sha256(path))
    assert not written.exists()


@pytest.mark.parametrize("content", [[1, 2], {"weight": [1.0]}, torch.ones(2)])
def test_a_pickle_of_a_hub_holds_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(FetchError, match="holds more than named tensors"):
        _as_safetensors(tmp_path / "diffusion_pytorch_model.bin")


def test_a_pickle_that_is_cut_is_named(tmp_path):
    path = tmp_path / "diffusion_pytorch_model.bin"
    torch.save({"weight": torch.ones(100)}, path)
    whole = path.read_bytes()
    for length in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FetchError, match=r"diffusion_pytorch_model\.bin holds more than"):
            _as_safetensors(path)
