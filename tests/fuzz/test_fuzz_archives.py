"""Hostile archives: nothing is written or read outside their folder, and the message names the archive."""

import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets.imagenet import ARCHIVE_META

from bigain.datasets import download
from bigain.datasets.base import UnreadableImage
from bigain.datasets.images import MOST_BYTES
from bigain.datasets.photos import Store
from bigain.datasets.urls import Download
from tests.helpers.layouts import pets_lines
from tests.helpers.mutations import MARKS, broken_bytes, cases, refusal
from tests.helpers.official_layouts import photo

pytestmark = MARKS

GOOD = ["images/a.jpg", "images/b.jpg", "annotations/test.txt", "images", "./images/c.jpg"]
BAD = ["../canary", "../../canary", "/tmp/canary", "images/../../canary", "..", "/", "a/../../canary", "\\..\\canary"]
KINDS = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE]
ODD_KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
SIZES = st.sampled_from([0, 3, 3, 512, 10**6, 10**12, 1 << 62])
members = st.lists(
    st.tuples(st.sampled_from(GOOD + BAD), st.sampled_from(KINDS * 2 + ODD_KINDS), st.sampled_from(GOOD + BAD), SIZES),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def place(tmp_path_factory):
    return _place(tmp_path_factory)


def _place(factory):
    """Make a folder to unpack into, beside a canary that has to stay as it is."""
    top = factory.mktemp("top")
    (top / "canary").write_bytes(b"sings")
    (top / "data").mkdir()
    return top / "data"


def tar(entries, packed=True):
    """Return a tar archive of these entries; the sizes in its headers may exceed their content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target, content in entries:
            entry = tarfile.TarInfo(name)
            length = content if isinstance(content, int) else len(content)
            entry.type, entry.linkname, entry.size = kind, target, length if kind in KINDS[:2] else 0
            archive.addfile(entry)
            content = bytes(min(length, 4096)) if isinstance(content, int) else content
            archive.fileobj.write(content.ljust(-(-len(content) // 512) * 512, b"\0") if entry.size else b"")
    return gzip.compress(buffer.getvalue(), mtime=0) if packed else buffer.getvalue()


def check_untouched(place):
    """Check that nothing was written beside the folder, and that nothing in it leads out of it."""
    top = place.parent
    assert [path.name for path in top.iterdir() if path != place] == ["canary"]
    assert (top / "canary").read_bytes() == b"sings"
    assert not any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in place.rglob("*"))


@given(entries=members, data=st.data())
@cases(250)
def test_a_tar_archive_stays_in_its_folder(tmp_path_factory, entries, data):
    place = _place(tmp_path_factory)
    archive = place / "images.tar.gz"
    content = tar(entries)
    archive.write_bytes(data.draw(st.just(content) | st.just(content) | broken_bytes(content)))
    message = refusal(lambda: download.unpack(archive, place), download.FetchError)
    check_untouched(place)
    assert message is None or "images.tar.gz" in message or str(place) in message, message
    hostile = [name in BAD or kind in ODD_KINDS for name, kind, *_ in entries]
    short = [kind in KINDS[:2] and size > 4096 for _, kind, _, size in entries]
    assert message or archive.read_bytes() != content or not any(hostile + short)


@given(data=st.data())
@cases(60)
def test_the_archives_of_pets_are_unpacked_or_named(tmp_path_factory, data):
    """`fetch` from end to end, for archives whose md5 is the published one."""
    place = _place(tmp_path_factory)
    entries = data.draw(st.just([]) | members)
    lines = [*pets_lines(0)]
    wanted = {"images.tar.gz": {f"images/{line.split()[0]}.jpg": photo(0) for line in lines}}
    wanted["annotations.tar.gz"] = {"annotations/test.txt": "\n".join(lines).encode()}
    published = []
    for name, files in wanted.items():
        content = tar([(file, tarfile.REGTYPE, "", inside) for file, inside in files.items()] + entries)
        content = data.draw(st.just(content) | broken_bytes(content))
        (place / name).write_bytes(content)
        published.append(Download(f"https://example.org/{name}", hashlib.md5(content).hexdigest()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "PETS", tuple(published))
        settings = {"reader": "pets", "path": str(place)}
        message = refusal(lambda: download.dataset("pets", settings, None), download.FetchError)
    check_untouched(place)
    assert message is None or ".tar.gz" in message or "test.txt" in message or "images/" in message, message


@given(entries=members, data=st.data())
@cases(60)
def test_the_archive_of_imagenet_is_unpacked_or_named(tmp_path_factory, entries, data):
    place = _place(tmp_path_factory)
    good = [(f"ILSVRC2012_val_{k:08d}.JPEG", tarfile.REGTYPE, "", 3) for k in range(4)]
    content = tar(data.draw(st.just(good) | st.just(good + entries)), packed=False)
    content = data.draw(st.just(content) | broken_bytes(content))
    (place / "ILSVRC2012_img_val.tar").write_bytes(content)
    (place / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"parsed by torchvision")

    def devkit(root):
        torch.save(({}, ["n01558993", "n01558993", "n01601694", "n01601694"]), root / "meta.bin")

    with pytest.MonkeyPatch.context() as patch:
        md5 = hashlib.md5(content).hexdigest()
        patch.setitem(ARCHIVE_META, "val", ("ILSVRC2012_img_val.tar", md5))
        patch.setattr("torchvision.datasets.imagenet.parse_devkit_archive", devkit)
        patch.setattr(download, "record_checksums", lambda *_: None)
        settings = {"reader": "imagenet100", "path": str(place)}
        message = refusal(lambda: download.dataset("imagenet100", settings, None), download.FetchError)
    check_untouched(place)
    assert (message is None) == (len(list(place.glob("val/*/*.JPEG"))) == 4)
    assert message is None or "ILSVRC2012_img_val.tar" in message, message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(
    data=st.data(),
    packed=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
@cases(300)
def test_a_zip_archive_is_read_in_place(tmp_path_factory, data, packed):
    place = _place(tmp_path_factory)
    names = data.draw(st.lists(st.sampled_from(GOOD + BAD), min_size=1, max_size=4))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = data.draw(st.sampled_from([0, 0o120777 << 16]))  # a symbolic link, if unpacked
            archive.writestr(entry, b"../canary", packed)
    whole = buffer.getvalue()
    content = data.draw(st.just(whole) | broken_bytes(whole))
    (place / "val.zip").write_bytes(content)

    def read():
        store = Store(place / "val.zip")
        for name in store.names():
            message = refusal(lambda: store.read(name), UnreadableImage)  # noqa: B023
            assert message is None or "val.zip" in message
            assert message is not None or store.read(name) != b"sings"
            assert message is not None or packed in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or content != whole

    message = refusal(read, ValueError)
    assert message is None or "val.zip" in message
    assert message is not None or content != whole or len(set(names)) == len(names)
    check_untouched(place)
    assert [path.name for path in place.iterdir()] == ["val.zip"]


def test_a_zip_bomb_is_not_unpacked(place):
    archive = zipfile.ZipFile(place / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9)
    with archive, archive.open("bomb.jpg", "w", force_zip64=True) as entry:
        for _ in range(MOST_BYTES // (1 << 24) + 1):
            entry.write(bytes(1 << 24))
    with pytest.raises(UnreadableImage, match=r"bomb\.zip/bomb\.jpg has \d+ bytes; at most"):
        Store(place / "bomb.zip").read("bomb.jpg")
