"""Model folders with odd files: accepted, or refused with a message that names the file."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigain.core.files import read_json, sha256
from bigain.datasets import download
from bigain.datasets.manifest import MANIFEST
from bigain.study import weights
from bigain.study.denoisers import denoiser_of
from bigain.study.weights import WeightsError, check, digest
from tests.helpers.mutations import MARKS, broken_bytes, broken_tree, cases, odd_values, refusal

pytestmark = MARKS

FILES = ["unet/config.json", "scheduler/scheduler_config.json", MANIFEST]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write a folder with the configs of SD 2.0 as if it had been fetched."""
    folder = tmp_path_factory.mktemp("model") / "sd2"
    contents = {
        "model_index.json": {},
        "unet/config.json": read_json(weights.ARCHITECTURES / "sd2.json"),
        "scheduler/scheduler_config.json": {"prediction_type": "epsilon"},
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    size = (folder / "model_index.json").stat().st_size
    known = {"model_index.json": {"size": size, "sha256": sha256(folder / "model_index.json")}}
    (folder / MANIFEST).write_text(json.dumps({"hub": "someone/sd2", "revision": "abc", "files": known}))
    backbone = {"family": "unet", "architecture": "sd2", "path": str(folder), "hub": "someone/sd2", "revision": "abc"}
    check("sd2", backbone)
    return folder, backbone


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("architecture", ["sd2", None])
@given(data=st.data())
@cases(60)
def test_a_changed_file_of_a_model_is_accepted_or_named(model, file, architecture, data):
    folder, backbone = model
    whole = (folder / file).read_bytes()
    changed, _ = data.draw(broken_tree(json.loads(whole), odd_values))
    try:
        content = json.dumps(changed).encode()
    except (TypeError, ValueError, RecursionError):
        content = data.draw(broken_bytes(whole))
    (folder / file).write_bytes(content)

    def plan():
        check("sd2", backbone | {"architecture": architecture})
        height, width = denoiser_of(backbone).grid
        assert height >= 0
        assert width >= 0

    message = refusal(plan, WeightsError)
    (folder / file).write_bytes(whole)
    assert message is None or file in message or str(folder) in message


@given(data=st.data())
@cases(150)
def test_changed_checksums_are_accepted_or_named(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("sums")
    (folder / "data").mkdir()
    for name in ("a", "b"):
        (folder / "data" / name).write_text(name)
    whole = "".join(f"{sha256(folder / 'data' / name)}  data/{name}\n" for name in ("a", "b")).encode()
    names = st.sampled_from(["../canary", "/etc/passwd", "data/none", "", "data/a\0", "data/" + "x" * 300])
    line = names.map(lambda name: whole + b"0" * 64 + b"  " + name.encode())
    content = data.draw(broken_bytes(whole) | line)
    (folder / "SHA256SUMS").write_bytes(content)
    message = refusal(lambda: digest(str(folder / "data")), WeightsError)
    assert message is None or "SHA256SUMS" in message


@given(content=st.binary(max_size=40) | st.sampled_from([b"null", b"[1]", b"1e400", b'{"a": 1}', b"[" * 10**5]))
@cases(50)
def test_a_damaged_cache_of_checksums_is_named(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("known")
    (folder / "large").write_bytes(bytes(100))
    (folder / "checksums.json").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "LARGE", 10)
        patch.setattr(weights, "CHECKSUMS", folder / "checksums.json")
        message = refusal(lambda: digest(str(folder / "large")), WeightsError)
    assert message is None or "checksums.json" in message


KNOWN = {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
LISTED = {"hub": "a/b", "revision": "c", "files": {"unet/config.json": KNOWN, "vae/x.safetensors": KNOWN}}


@given(data=st.data())
@cases(200)
def test_a_manifest_removes_nothing_outside_its_folder(tmp_path_factory, data):
    top = tmp_path_factory.mktemp("top")
    (top / "canary").write_bytes(b"sings")
    place = top / "data"
    names = st.sampled_from(["../canary", "/etc/hosts", "unet/../../canary", "unet/config.json"])
    changed, _ = data.draw(broken_tree(LISTED, st.builds(lambda name: {name: KNOWN}, names) | odd_values))
    if isinstance(changed.get("files"), dict):
        changed["files"] |= data.draw(st.dictionaries(names, st.just(KNOWN | {"sha256": "0"}), max_size=1))
    for name in LISTED["files"]:
        (place / name).parent.mkdir(parents=True)
        (place / name).write_bytes(b"abc")
    try:
        content = json.dumps(changed).encode()
    except (TypeError, ValueError, RecursionError):
        content = b"{"
    (place / MANIFEST).write_bytes(content)
    settings = {"hub": "a/b", "revision": None, "path": str(place)}
    message = refusal(lambda: download.backbone("sd2", settings), download.FetchError)
    assert (top / "canary").read_bytes() == b"sings"
    assert message is None or MANIFEST in message or str(place) in message
