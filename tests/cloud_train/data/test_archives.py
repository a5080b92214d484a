"""Archives: the same pictures as in a folder, and nothing of what a stranger's archive may try."""

import gzip
import io
import tarfile
import zipfile

import pytest

from cloud_train.data import archives
from cloud_train.data.archives import open_archive
from cloud_train.data.folders import arrange, walk
from cloud_train.data.samples import BadSamples
from tests.cloud_train.data.conftest import picture_bytes


def tar_of(members: dict[str, bytes], compress: bool = True) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if compress else "w") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return file.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def opened(tmp_path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    return open_archive(tmp_path / name, tmp_path)


@pytest.fixture
def members(class_folder):
    """The class folder's files, as an archive names them."""
    return {f"x/{path.relative_to(class_folder)}": path.read_bytes() for path in class_folder.rglob("*.jpg")}


def test_an_archive_holds_what_the_folder_holds(class_folder, members, tmp_path):
    """.zip, .tar.gz, .tar, and a .tar.gz in a .zip, as Caltech-101 comes."""
    expected = [(each.name, each.label, each.read()) for each in arrange(walk(class_folder)).train]
    forms = {
        "a.zip": zip_of(members),
        "a.tar.gz": tar_of(members),
        "a.tgz": tar_of(members),
        "a.tar": tar_of(members, compress=False),
        "b.zip": zip_of({"y/a.tar.gz": tar_of(members), "__MACOSX/y/._a.tar.gz": b"x", "y/readme.txt": b"x"}),
        "b.tar": tar_of({"y/a.zip": zip_of(members)}, compress=False),
    }
    for name, content in forms.items():
        found = arrange(opened(tmp_path, name, content)).train
        assert [(each.name, each.label, each.read()) for each in found] == expected, name


def test_nothing_is_written_where_an_archive_wants_it(tmp_path):
    """Names that lead out of it are skipped by name, links are ignored, and no file appears."""
    inside = tmp_path / "inside"
    inside.mkdir()
    found = opened(
        inside, "a.zip", zip_of({"../evil.jpg": b"x", "/tmp/evil.jpg": b"x", "a/1.jpg": picture_bytes(1)})
    )
    assert list(found.pictures) == [("a", "1.jpg")]
    assert [each.split(":")[0] for each in found.skipped] == ["../evil.jpg", "/tmp/evil.jpg"]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for index, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)):
            about = tarfile.TarInfo(f"a/{index}.jpg")
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
    assert not opened(inside, "a.tar", file.getvalue()).pictures
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "a.zip", "inside"]


def test_a_class_without_pictures_is_seen_in_an_archive_too(tmp_path):
    """Its folder is a member of its own."""
    found = opened(tmp_path, "a.zip", zip_of({"a/1.jpg": picture_bytes(1), "b/": b""}))
    with pytest.raises(BadSamples, match="no pictures of the class 'b'"):
        arrange(found)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar"])
def test_an_archive_cut_short_is_refused(members, tmp_path, name, keep):
    """Half a download is not read as a smaller data set, wherever the cut is."""
    content = zip_of(members) if name == "a.zip" else tar_of(members, compress=name == "a.tar.gz")
    # A .tar ends with zeros up to a whole record, which may be missing.
    length = len(content.rstrip(b"\0")) if name == "a.tar" else len(content)
    with pytest.raises(BadSamples, match="no whole archive"):
        opened(tmp_path, name, content[: int(keep * length)])


def test_a_tar_cut_at_the_end_of_a_picture_is_refused(members, tmp_path):
    """Nothing is missing but the end."""
    content = tar_of({"a/1.jpg": bytes(512), "a/2.jpg": bytes(512)}, compress=False)
    with pytest.raises(BadSamples, match="no whole archive"):
        opened(tmp_path, "a.tar", content[:2048])


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_flipped_byte_is_refused(members, tmp_path, place):
    """Checksums are read to the end."""
    for name, content in (("a.zip", zip_of(members)), ("a.tar.gz", tar_of(members))):
        damaged = bytearray(content)
        damaged[int(place * len(content))] ^= 0xFF
        with pytest.raises(BadSamples, match="no whole archive"):
            opened(tmp_path, name, bytes(damaged))


def test_a_bomb_is_refused_before_it_goes_off(tmp_path, monkeypatch):
    """What it unpacks to is added up beforehand."""
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1_000_000)
    bomb = {f"a/{index}.txt": bytes(600_000) for index in range(2)}
    for name, content in (("a.zip", zip_of(bomb)), ("a.tar.gz", tar_of(bomb))):
        with pytest.raises(BadSamples, match="more than 1000000 bytes"):
            opened(tmp_path, name, content)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    """A name of 100 MB is packed into 100 kB."""
    about = tarfile.TarInfo("././@LongLink")
    about.type, about.size = tarfile.GNUTYPE_LONGNAME, 100_000_000
    content = about.tobuf(tarfile.GNU_FORMAT) + bytes(about.size)
    with pytest.raises(BadSamples, match="a header in the archive is too large"):
        opened(tmp_path, "a.tar.gz", gzip.compress(content, 1))


def test_a_member_that_is_too_large_for_a_picture_is_skipped_by_name(tmp_path, monkeypatch):
    """Nothing of it is read."""
    monkeypatch.setattr(archives, "MAX_PICTURE_BYTES", 1000)
    for name, pack in (("a.zip", zip_of), ("a.tar.gz", tar_of)):
        found = opened(tmp_path, name, pack({"a/1.jpg": bytes(1001), "a/2.jpg": bytes(1000)}))
        assert list(found.pictures) == [("a", "2.jpg")]
        assert found.skipped == ("a/1.jpg: the file has more than 1000 bytes",)


def test_an_encrypted_archive_is_refused(members, tmp_path):
    """The reason is said."""
    content = bytearray(zip_of(members))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    with pytest.raises(BadSamples, match="encrypted"):
        opened(tmp_path, "a.zip", bytes(content))
