"""Your own images: class sub-folders, label files, class files, and every way in which they can be wrong."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from bigain.datasets import integrity, load, reference_of
from bigain.datasets.photos import crops
from tests.helpers.own_images import class_folders, labelled, picture


def read(path, **settings):
    return load({"reader": "folder", "path": str(path), **settings})


# -- class sub-folders


def test_sub_folders_are_classes_that_take_turns(tmp_path):
    dataset = read(class_folders(tmp_path, {"golden_retriever": 3, "cat": 1}))
    assert dataset.class_names == ("cat", "golden retriever")
    assert dataset.prompts == ("a photo of a cat", "a photo of a golden retriever")
    assert dataset.files == ["cat/0.png", "golden_retriever/0.png", "golden_retriever/1.png", "golden_retriever/2.png"]
    assert dataset.labels == [(0,), (1,), (1,), (1,)]
    assert dataset.captions[1] == "a photo of a golden retriever"
    assert not dataset.multi_label
    assert dataset.class_ids is None


def test_an_id_is_the_place_of_its_sorted_path(tmp_path):
    dataset = read(class_folders(tmp_path, {"cat": 2, "dog": 2}))
    assert dict(zip(dataset.files, dataset.ids, strict=True)) == {
        "cat/0.png": 0,
        "cat/1.png": 1,
        "dog/0.png": 2,
        "dog/1.png": 3,
    }


def test_hidden_files_are_no_images(tmp_path):
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    for name in (".DS_Store", "cat/Thumbs.db", "cat/._0.png", "__MACOSX/cat/0.png", ".cache/x.png", "dog/desktop.ini"):
        picture(tmp_path / "x.png").rename(tmp_path / "x.png")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").rename(tmp_path / name)
    assert read(tmp_path).files == ["cat/0.png", "dog/0.png"]


def test_names_with_accents_are_read_however_they_are_stored(tmp_path):
    picture(tmp_path / unicodedata.normalize("NFD", "café") / "ñ.png")
    picture(tmp_path / "犬" / "1.png")
    dataset = read(tmp_path, class_ids={"café": 3, "犬": 5})
    assert dataset.class_names == ("café", "犬")
    assert dataset.class_ids == (3, 5)
    assert dataset.open(0).size == (40, 32)


def test_any_size_and_format_is_cropped_to_the_models(tmp_path):
    picture(tmp_path / "a" / "wide.webp", 1, (90, 30), "RGB")
    picture(tmp_path / "b" / "tall.tif", 2, (31, 77), "RGB")
    upright = picture(tmp_path / "b" / "turned.jpg", 3, (60, 40), "RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(upright).save(upright, exif=exif)
    dataset = read(tmp_path)
    assert crops(dataset, range(3), 16, 3).shape == (3, 3, 16, 16)
    assert {dataset.open(i).size for i in range(3)} == {(90, 30), (31, 77), (40, 60)}


def test_a_template_says_where_the_name_belongs(tmp_path):
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    assert read(tmp_path, prompt="{}, a type of pet").prompts == ("cat, a type of pet", "dog, a type of pet")
    for wrong in ("a photo", "{} and {}", "a {name}", "{} {"):
        with pytest.raises(ValueError, match=r"prompt .* must contain \{\}, .* exactly once"):
            read(tmp_path, prompt=wrong)


def test_a_class_file_names_the_classes(tmp_path):
    class_folders(tmp_path, {"n02": 1, "n01": 1})
    (tmp_path / "classes.csv").write_text("class,name,class_id\nn01,tench,0\nn02,hen,8\n")
    dataset = read(tmp_path, class_names="classes.csv")
    assert dataset.class_names == ("tench", "hen")
    assert dataset.class_ids == (0, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("class,name\nn01,tench\n", r"classes\.csv names no class 'n02': all 2 classes are needed"),
        ("class,name\nn01,tench\nn02,hen\nn03,cock\n", r"unknown class 'n03'\..* A class needs images; remove it"),
        ("class,name\nn01,tench\nn01,hen\n", r"line 3: class 'n01' is listed twice"),
        ("class,name\nn01,\nn02,hen\n", r"line 2: a class and its name are needed"),
        ("class,name,class_id\nn01,tench,x\n", r"line 2: class_id 'x' must be a whole number"),
        ("class,name,class_id\nn01,tench,4\nn02,hen,4\n", r"class id 4 stands for two classes"),
        ("class;name\nn01;tench\n", r"its first line has semicolons; columns are separated by commas"),
        ("class\nn01\n", r"has no column 'name'; columns are separated by commas"),
        ("class,name\n", r"names no class"),
        ("class,name\nn01,tench,4\n", r"line 2: 3 cells, and 2 columns"),
    ],
)
def test_a_wrong_class_file_is_named(tmp_path, content, message):
    class_folders(tmp_path, {"n02": 1, "n01": 1})
    (tmp_path / "classes.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, class_names="classes.csv")


def test_class_ids_are_of_exactly_the_classes(tmp_path):
    class_folders(tmp_path, {"cat": 1, "dog": 1})
    with pytest.raises(ValueError, match=r"class_ids names no class 'dog'"):
        read(tmp_path, class_ids={"cat": 1})
    with pytest.raises(ValueError, match=r"class_ids: unknown class 'dgo'\. Did you mean 'dog'\?"):
        read(tmp_path, class_ids={"cat": 1, "dgo": 2})
    (tmp_path / "classes.csv").write_text("class,name,class_id\ncat,cat,0\ndog,dog,8\n")
    with pytest.raises(ValueError, match=r"class_ids: .*classes\.csv has a column class_id too"):
        read(tmp_path, class_names="classes.csv", class_ids={"cat": 1, "dog": 2})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"holds no images: it needs a sub-folder per class, or `labels`"),
        (["a.png", "cat/0.png"], r"images outside of class sub-folders \(a\.png\): move each"),
        (["train/cat/0.png", "test/cat/0.png"], r"inside of class sub-folders \(test/.*set `path` to .*test if that"),
        (["cat/0.png", "cat/notes.txt"], r"files that are not images \(cat/notes\.txt\): move them elsewhere"),
        (["cat/0.png", "dog/"], r"dog holds no images: put images of that class there, or remove the folder"),
        (["cat/0.png", "list.csv"], r"list\.csv is not an image: set `labels: list\.csv` if it names the images"),
        (["cat/\u00e9.png", "cat/e\u0301.png"], r"is there twice, with accents stored in two ways: rename one"),
    ],
)
def test_a_folder_that_leaves_something_open_is_refused(tmp_path, files, message):
    for k, file in enumerate(files):
        if file.endswith("/"):
            (tmp_path / file).mkdir()
        elif file.endswith(".png"):
            picture(tmp_path / file, k)
        else:
            (tmp_path / file).write_text("")
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none is missing, or not a folder of images"):
        read(tmp_path / "none")


def test_a_link_to_a_folder_is_followed_unless_it_leads_back(tmp_path):
    class_folders(tmp_path / "images", {"cat": 1})
    class_folders(tmp_path / "elsewhere", {"dog": 2})
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    assert read(tmp_path / "images").files == ["cat/0.png", "dog/0.png", "dog/1.png"]
    (tmp_path / "images" / "cat" / "loop").symlink_to(tmp_path / "images")
    with pytest.raises(ValueError, match=r"loop is a link to a folder that contains it"):
        read(tmp_path / "images")


# -- label files


def test_a_label_file_gives_each_image_its_class(tmp_path):
    rows = "file,label\nc.png,dog\na.png,cat\nsub/b.png,dog\n"
    settings = labelled(tmp_path, rows, files=("a.png", "sub/b.png", "c.png"))
    dataset = load(settings)
    assert dataset.files == ["a.png", "c.png", "sub/b.png"]
    assert dataset.ids == [0, 1, 2]
    assert [dataset.class_names[c] for (c,) in dataset.labels] == ["cat", "dog", "dog"]
    assert integrity.left_out(settings) == []


def test_several_labels_are_separated_by_a_bar(tmp_path):
    rows = "\ufefffile,labels\nb.png,dog | cat\na.png,cat\nc.png,\n"
    dataset = load(labelled(tmp_path, rows))
    assert dataset.multi_label
    assert dataset.labels == [(0,), (0, 1), ()]
    assert dataset.files == ["a.png", "b.png", "c.png"]
    assert dataset.captions == ["a photo of a cat", "a photo of a cat and dog", ""]


def test_captions_are_what_is_generated(tmp_path):
    rows = 'file,label,caption\na.png,cat,"a cat, asleep"\nb.png,dog,a dog\nc.png,dog,two dogs\n'
    dataset = load(labelled(tmp_path, rows))
    assert dataset.captions == ["a cat, asleep", "a dog", "two dogs"]


def test_images_that_are_not_named_are_counted(tmp_path):
    settings = labelled(tmp_path, "file,label\na.png,cat\n")
    assert len(load(settings)) == 1
    (line,) = integrity.left_out(settings)
    assert line == f"2 images of {tmp_path}, such as b.png, are left out: labels.csv does not name them"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file,label\na.png,cat\nd.png,dog\n", r"names files that are not in .*: d\.png \(line 3\)"),
        ("file,label\na.png,cat\nb.png,dog\na.png,cat\n", r"a\.png is on line 2 and again on line 4; keep one"),
        ("file,label\na.png,cat\n./a.png,cat\n", r"a\.png is on line 2 and again on line 3"),
        ("file,label\na.png,\n", r"line 2: a\.png has no label\. Name the column `labels` if images may have none"),
        ("file,label\na.png,cat|dog\n", r"line 2: 'cat\|dog' are several labels\. Name the column `labels`"),
        ("file,labels\na.png,cat|cat\n", r"line 2: label 'cat' occurs twice"),
        ("file,labels\na.png,cat|\n", r"line 2: 'cat\|' has an empty label"),
        ("file,labels\na.png,\n", r"has no label at all"),
        ("file,label,labels\na.png,cat,cat\n", r"`label` .* or `labels` .* is needed, not both"),
        ("file\na.png\n", r"`label` .* or `labels` .* is needed"),
        ("file,lable\na.png,cat\n", r"unknown column 'lable'\. Did you mean 'label'\?"),
        ("file,label,caption\na.png,cat,\n", r"line 2: a\.png has no caption"),
        ("file,label\n../a.png,cat\n", r"line 2: file '\.\./a\.png' must be a path below the folder"),
        ("file,label\n,cat\n", r"line 2: file '' must be a path below the folder"),
        ("file,label\nlabels.csv,cat\n", r"names files that are not images: labels\.csv \(line 2\)"),
        ("file,label\n", r"names no file"),
        ("", r"has no column 'file'"),
        ("file;label\na.png;cat\n", "its first line has semicolons; columns are separated by commas"),
        ("file\tlabel\na.png\tcat\n", "its first line has tabs; columns are separated by commas"),
        ('file,label\n"a.png,cat\n', r"labels\.csv, line 2: unexpected end of data"),
    ],
)
def test_a_wrong_label_file_is_named_with_its_line(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        load(labelled(tmp_path, rows))


def test_a_label_that_the_class_file_lacks_is_unknown(tmp_path):
    settings = labelled(tmp_path, "file,label\na.png,cat\nb.png,dgo\n")
    (tmp_path / "classes.csv").write_text("class,name\ncat,a cat\ndog,a dog\n")
    with pytest.raises(ValueError, match=r"labels\.csv, line 3: unknown label 'dgo'\. Did you mean 'dog'\?"):
        load(settings | {"class_names": "classes.csv"})


def test_a_label_file_in_another_encoding_is_named(tmp_path):
    settings = labelled(tmp_path, "")
    (tmp_path / "labels.csv").write_bytes("file,label\na.png,café\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"labels\.csv is not UTF-8 .*save it as CSV UTF-8"):
        load(settings)
    with pytest.raises(FileNotFoundError, match=r"other\.csv is missing; it must be a CSV file with file"):
        load(settings | {"labels": "other.csv"})


# -- content


def broken(folder):
    """Class folders in which the first five images are what a model cannot be given."""
    class_folders(folder, {"cat": 8, "dog": 8})
    (folder / "cat/0.png").write_bytes(b"")
    (folder / "cat/1.png").write_bytes((folder / "cat/2.png").read_bytes()[:100])
    (folder / "cat/3.png").write_text("not an image")
    frames = [Image.fromarray(np.full((8, 8), k, np.uint8)) for k in (0, 255)]
    frames[0].save(folder / "cat/4.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (4, 3000)).save(folder / "cat/5.png")


def test_every_image_that_cannot_be_read_is_named_with_what_to_do(tmp_path):
    broken(tmp_path)
    settings = {"reader": "folder", "path": str(tmp_path)}
    (problem,) = integrity.problems(settings)
    assert "5 images cannot be read, and allow_missing is 0" in problem
    for part in (
        "cat/0.png is empty (0 bytes): copy or download it again",
        "cat/1.png is damaged",
        "cat/3.png is damaged, or not an image in a format that is read",
        "cat/4.gif has 2 frames or pages (GIF): save the one you mean as a PNG",
        "cat/5.png has 4 x 3000 pixels; no side may be over 100 times the other: crop it",
    ):
        assert part in problem
    assert integrity.problems(settings | {"allow_missing": 5}) == []


def test_sixteen_bits_and_four_inks_are_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)).save(tmp_path / "a/deep.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "b/inks.jpg")
    dataset = read(tmp_path)
    assert (dataset.open(0).mode, dataset.open(0).getpixel((0, 0))) == ("L", 100)
    assert dataset.open(1).mode == "RGB"


def test_colours_become_luma_for_a_model_of_grey_images(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (40, 20), (200, 100, 50)).save(tmp_path / "a/0.png")
    dataset = read(tmp_path)
    assert set(crops(dataset, [0], 16, 1).flat) == {round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)}
    assert crops(dataset, [0], 16, 3)[0, :, 0, 0].tolist() == [200, 100, 50]


def test_a_reference_is_the_same_images_or_another_folder(tmp_path):
    class_folders(tmp_path / "mine", {"cat": 1, "dog": 1})
    picture(tmp_path / "real/deep/down/0.png")
    settings = {"reader": "folder", "path": str(tmp_path / "mine"), "reference": None}
    assert len(load(reference_of(settings))) == 2
    reference = load(reference_of(settings | {"reference": str(tmp_path / "real")}))
    assert reference.files == ["deep/down/0.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no images"):
        load(reference_of(settings | {"reference": str(tmp_path / "empty")}))
