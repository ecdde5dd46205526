"""Google Speech Commands v0.02 (Warden, 2018) and its two standard tasks, fetched where there is a network.

    dataset = open_task("data", "gsc12")      # or gsc35; test figures compare with published ones
"""

import gzip
import os
import shutil
import tarfile
import tempfile
import warnings
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console
from rich.progress import wrap_file

from kws.data import BACKGROUND, DataError, Dataset, DataWarning, load_folder, locate, official_test_folder

VERSION = "v0.02"
TEST_SET_URL = f"https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_test_set_{VERSION}.tar.gz"


def open_task(root: str | os.PathLike[str], task: str) -> Dataset:
    """The standard task of that name ("gsc12" or "gsc35") from the folder `root`; what is not there is downloaded first.

    gsc12: ten words, `_unknown_` (all other words) and `_silence_` (cuts of the background recordings), each of the two a tenth
    as many as clips of the ten words, so 36,923 clips to train, 4,445 to validate; tested on the separate 4,890 clips made for
    this task, or, where they cannot be had, on the same shares of the test list. gsc35: all words, 84,843, 9,981, 11,005 clips.
    Splits are those of the data set's lists. Raises DataError.
    """
    folder = locate(root)
    if not (folder / "testing_list.txt").exists():
        folder = download_speech_commands(root)
    if not (folder / BACKGROUND).is_dir() or not (folder / "validation_list.txt").exists():
        raise DataError(f"{folder}: lacks {BACKGROUND} or validation_list.txt; unpack speech_commands_{VERSION} there again")
    if task == "gsc12" and folder.name.endswith(VERSION) and not official_test_folder(folder).is_dir():
        try:
            download_test_set(official_test_folder(folder))
        except DataError as error:
            warnings.warn(f"{error}; until then clips of the test list stand in for it", DataWarning, stacklevel=2)
    return load_folder(folder, "gsc12" if task == "gsc12" else None)


def download_speech_commands(root: str | os.PathLike[str]) -> Path:
    """Fetch the recordings (2.4 GB) through torchaudio, which checks them; returns the folder for load_folder.

    Raises DataError where there is no network, naming the way round.
    """
    from torchaudio.datasets import SPEECHCOMMANDS

    name = f"speech_commands_{VERSION}"
    folder = Path(root) / "SpeechCommands" / name
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        SPEECHCOMMANDS(os.fspath(root), url=name, download=True)
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors
        raise DataError(
            f"Speech Commands could not be downloaded ({error}); download {name}.tar.gz where there is a network, "
            f"unpack it into {folder}, and run this again"
        ) from None
    if not (folder / "testing_list.txt").exists() or not (folder / BACKGROUND).is_dir():
        raise DataError(f"{folder}: incomplete, an earlier download was probably interrupted; remove it and try again")
    return folder


def download_test_set(folder: Path) -> None:
    """Fetch the separate test clips of the 12-class task (113 MB) into `folder`, all of them or nothing. Raises DataError."""
    name = TEST_SET_URL.rsplit("/", 1)[1]
    part = folder.parent / ".none"
    try:
        part = Path(tempfile.mkdtemp(prefix=".download-", dir=folder.parent))
        with urlopen(TEST_SET_URL, timeout=30) as response:
            size = int(response.headers.get("Content-Length") or 0)
            with wrap_file(response, size, description=name, console=Console(stderr=True), transient=True) as file:
                # tarfile's own gzip stream would take a torn archive for a whole one.
                with gzip.GzipFile(fileobj=file) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as archive:
                    archive.extractall(part, filter="data")  # refuses what would land outside
                    while unzipped.read(1 << 16):  # to the checksum at its end
                        pass
        part.chmod(0o755)
        part.rename(folder)
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"the separate test set could not be downloaded ({error}); download {name} where there is a network and unpack it "
            f"into {folder}"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
