"""Files by path or URL: on this computer, in S3 or in Google's store. fsspec is imported here."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from host_cli import files
from host_cli.errors import Failed, Unreachable, WrongUsage

# The package that speaks to each store, and the extra that brings it.
EXTRAS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs")}
# s3fs tries everything five times, so a store that says nothing holds a command for 80 seconds at most.
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
# Large files travel in parts, one after the other: no file is ever in memory as a whole.
PART_BYTES = 16 * 1024 * 1024

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class NoSuchObject(WrongUsage):
    """The store is there, and nothing lies at this place."""


def is_remote(where: str) -> bool:
    """Say whether `where` is a URL of a store, and neither a path nor file://.

    Raises:
        WrongUsage: it is a URL that no store answers.
    """
    found = _SCHEME.match(where)
    scheme = found[1].lower() if found else "file"
    if scheme != "file" and scheme not in EXTRAS:
        raise WrongUsage(f"{scheme}:// is no place for files", where, "a path, file://, s3:// or gs://")
    return scheme != "file"


def local_path(where: str) -> Path:
    """Return the path of a file on this computer, given as a path or as file:///path."""
    if not _SCHEME.match(where):
        return Path(where)
    parts = urlsplit(where)
    if parts.netloc not in ("", "localhost"):
        raise WrongUsage("file:// is for this computer", where, "three slashes: file:///folder/file")
    return Path(unquote(parts.path))


def join(where: str, name: str) -> str:
    """Return the place of `name` inside the folder `where`."""
    return f"{where.rstrip('/')}/{name}" if _SCHEME.match(where) else str(Path(where) / name)


def name_of(where: str) -> str:
    """Return the last part of a path or URL."""
    return PurePosixPath(where).name


def fetch(where: str, folder: Path) -> Path:
    """Return a local file with the content of `where`.

    Args:
        where: a path or file://, returned as it is, or a URL, of which a copy is made.
        folder: where a copy goes; it keeps its name and is whole the moment it is visible.

    Raises:
        NoSuchObject: nothing lies there.
        Unreachable: the store or the bucket is not there, or does not let us in.
        Failed: the disk is full, or the package for the store is missing.
    """
    if not is_remote(where):
        return local_path(where)
    target = folder / name_of(where)
    with _opened(where) as (store, key):
        files.write_with(target, lambda temporary: store.get_file(key, str(temporary)))
    return target


def put(path: Path, where: str) -> None:
    """Copy a file to `where`: a reader there sees what was there before, or the whole new file.

    Raises:
        Unreachable, Failed: as `fetch`.
    """
    if is_remote(where):
        with _opened(where) as (store, key):
            store.put_file(str(path), key, chunksize=PART_BYTES)
    elif local_path(where).resolve() != path.resolve():
        files.write_with(local_path(where), lambda temporary: _copy(path, temporary))


def exists(where: str) -> bool:
    """Say whether there is a file or a folder at `where`.

    Raises:
        Unreachable, Failed: as `fetch`; a bucket that is not there is no answer.
    """
    if not is_remote(where):
        return local_path(where).exists()
    try:
        with _opened(where) as (store, key):
            store.info(key)
    except NoSuchObject:
        return False
    return True


def names(where: str) -> list[str]:
    """Return the names of what lies in a folder, sorted; none when there is no such folder.

    Raises:
        Unreachable, Failed: as `fetch`.
    """
    if not is_remote(where):
        folder = local_path(where)
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    try:
        with _opened(where) as (store, key):
            found = {name_of(entry) for entry in store.ls(key, detail=False) if entry != key}
    except NoSuchObject:
        return []
    return sorted(found - {"", ".", ".."})  # a name becomes a file's name here


def _copy(path: Path, target: Path) -> None:
    shutil.copyfile(path, target)


@contextmanager
def _opened(where: str) -> Iterator[tuple[Any, str]]:
    # The store and the key in it, `bucket/folder/name`; what goes wrong in the block says who must act.
    scheme, key = where.split("://", 1)
    key = key.rstrip("/")
    bucket = key.split("/", 1)[0]
    if not bucket:
        raise WrongUsage("the URL names no bucket", where, f"{scheme}://BUCKET/folder/file")
    store = _store(scheme.lower(), where)
    try:
        yield store, key
    except FileNotFoundError as error:
        if error.filename is not None:
            raise  # the file on this computer
        _check_bucket(store, bucket, where)
        raise NoSuchObject("there is no such object", where, "look at what lies in its folder") from error
    except OSError as error:
        raise _explained(error, where) from error
    except Exception as error:  # each store has its own family of errors, without a common root
        raise _away(error, where) from error


def _store(scheme: str, where: str) -> Any:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        options["max_concurrency"] = 1
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"total_max_attempts": 1},  # s3fs tries again itself
        }
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        package, extra = EXTRAS[scheme]
        raise Failed(f"the package {package} is missing", where, f"pip install '.[{extra}]'") from error


def _check_bucket(store: Any, bucket: str, where: str) -> None:
    try:
        store.info(bucket)
    except FileNotFoundError as error:
        what = f"there is no bucket {bucket}"
        raise Unreachable(what, where, "make the bucket, or name another one") from error
    except Exception as error:
        raise _away(error, where) from error


def _explained(error: OSError, where: str) -> Exception:
    if error.errno in files.DISK_FULL:
        return Failed("the disk is full", f"fetching {where}", "free space, or set TMPDIR to a larger disk")
    if error.filename is not None:
        return error  # a file on this computer, which says what and where
    if isinstance(error, PermissionError):
        hint = "the keys in the environment (AWS_ACCESS_KEY_ID ...), and what they may do"
        return Unreachable(f"the store refuses: {error}", where, hint)
    return _away(error, where)


def _away(error: Exception, where: str) -> Unreachable:
    first_line = str(error).strip().split("\n", 1)[0]
    what = f"the store does not answer: {type(error).__name__}: {first_line}"
    hint = "is it running? its address and keys are in the environment (AWS_ENDPOINT_URL ...)"
    return Unreachable(what, where, hint)
