"""docs/data-sets.md: what it tells its reader to paste works, in order, in an empty folder."""

import io
import json
import subprocess
import tarfile
import zipfile

import pytest

from cloud_train.data import archives, arrays, folders, pictures, samples, selection
from contract.artifacts import MAX_CLASSES, MAX_SHARDS
from tests.cloud_train.data.conftest import write_classes
from tests.house.conftest import HOST_BIN, ROOT
from tests.house.pages import commands_of

PAGE = ROOT / "docs" / "data-sets.md"


@pytest.fixture
def caltech_101(tmp_path):
    """A small caltech-101.zip, made like the real one."""
    root = write_classes(tmp_path / "made", ("BACKGROUND_Google", "ant", "camera"))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(root, "101_ObjectCategories")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "empty" / "caltech-101.zip", "w") as archive:
        archive.writestr("caltech-101/101_ObjectCategories.tar.gz", file.getvalue())


@pytest.mark.skipif(
    not (arrays.DEBIAN_FOLDER / "fashion-mnist").is_dir(), reason="needs Debian's dataset-fashion-mnist"
)
def test_the_page_goes_from_an_empty_folder_to_shards(tmp_path, caltech_101):
    """Every block, as it stands there, but for the installation."""
    script = "\n".join(commands_of(PAGE)).replace("pip install", "true pip install")
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path / "empty",
        env={"PATH": f"{HOST_BIN}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] in PAGE.read_text() and lines[0].startswith("fashion: 4 shards")
    made = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.rglob("shards.json")}
    assert len(made) == 7
    assert made["caltech"]["labels"] == ["ant", "camera"] and "left out: BACKGROUND_Google/" in done.stderr
    assert made["from-folder"]["source_sha256"] == made["from-zip"]["source_sha256"]
    assert all(
        sum(count > 0 for count in entry["label_counts"]) == 2 for entry in made["two-labels-each"]["shards"]
    )
    assert max(map(len, lines)) <= 80


def test_the_limits_are_those_of_the_code():
    """Each stands on the page as it stands there."""
    page = PAGE.read_text()
    assert f"{pictures.MAX_PICTURE_BYTES >> 20} MiB, {pictures.MAX_PICTURE_PIXELS >> 20} Mi pixels" in page
    assert f"{pictures.MAX_JPEG_SCANS} scans" in page and f"{folders.MAX_FILES:,} pictures" in page
    assert f"{MAX_CLASSES} labels" in page and f"1 to {selection.MAX_SIDE_PIXELS} pixels" in page
    assert f"1 to {MAX_SHARDS} |" in page and f"{archives.MAX_UNPACKED_BYTES >> 30} GiB unpacked" in page
    assert f"a window of {samples.BLOCK_BYTES >> 20} MB" in page
