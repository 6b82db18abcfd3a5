"""A run's folder: configuration, manifest, metrics, TensorBoard, checkpoints.

    config.yaml        the resolved configuration
    manifest.json      versions, commit, hardware, command: one entry a session
    metrics.jsonl      a row an iteration, a row a validation
    tensorboard/       the same for TensorBoard
    checkpoints/       latest.pt, and best.pt as selected on validation days
    evaluation/        what `gradmap evaluate` found

The folder appears whole, and no file in it is ever half-written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from gradmap.experiments.config import RunConfig
from gradmap.experiments.config_files import load_yaml, validate
from gradmap.experiments.config_load import own_values
from gradmap.experiments.files import finite, write_json, write_text, write_yaml
from gradmap.experiments.manifest import now
from gradmap.feeders.errors import GradmapError


class RunFolder:
    """A run's folder that exists. Use `create` or `open`.

    Args:
        path: The folder.
        config: The run's configuration.
    """

    def __init__(self, path: pathlib.Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: pathlib.Path, config: RunConfig, session: dict[str, Any]) -> RunFolder:
        """Makes a new folder, with configuration and manifest in it.

        Args:
            path: The folder; it must not exist, or be empty.
            config: The run's configuration.
            session: The first session, from `describe_session`.

        Raises:
            GradmapError: If the folder holds anything, or cannot be made.
        """
        check_vacant(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
            try:
                aside.chmod(0o755)
                write_yaml(aside / "config.yaml", own_values(config))
                manifest = {"method": config.method, "seed": config.seed, "sessions": [session]}
                write_json(aside / "manifest.json", manifest)
                write_text(aside / "metrics.jsonl", "")
                (aside / "checkpoints").mkdir()
                os.replace(aside, path)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise GradmapError(f"cannot make run folder {path}: {error.strerror}") from None
        return cls(path, config)

    @classmethod
    def open(cls, path: pathlib.Path) -> RunFolder:
        """Opens a run's folder.

        Args:
            path: The folder.

        Raises:
            GradmapError: If it is not a run's folder or its configuration
                cannot be used.
        """
        file = path / "config.yaml"
        if not file.is_file():
            raise GradmapError(
                f"{path} is no run: it holds no config.yaml; give a folder that "
                "`gradmap train` has made"
            )
        known = RunConfig().model_dump(mode="json")
        return cls(path, validate(RunConfig, load_yaml(file), known, str(file)))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the run to this process while entered.

        Raises:
            GradmapError: If another process has it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise GradmapError(
                    f"{self.path} is being trained by another process; wait for it or stop it"
                ) from None
            yield

    def is_locked(self) -> bool:
        """Whether a process trains it now."""
        try:
            with self.locked():
                return False
        except GradmapError:
            return True

    def checkpoint(self, which: str) -> pathlib.Path:
        """Path of a checkpoint, `latest` or `best`."""
        return self.path / "checkpoints" / f"{which}.pt"

    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands."""
        try:
            loaded: dict[str, Any] = json.loads((self.path / "manifest.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise GradmapError(f"cannot read {self.path / 'manifest.json'}: {error}") from None
        return loaded

    def start_session(self, session: dict[str, Any]) -> None:
        """Adds a session to the manifest."""
        manifest = self.manifest()
        manifest["sessions"].append(session)
        write_json(self.path / "manifest.json", manifest)

    def end_session(self, status: str, **facts: Any) -> None:
        """Closes the last session in the manifest.

        Args:
            status: `finished`, `interrupted` or `failed`.
            facts: More to note of the session.
        """
        manifest = self.manifest()
        manifest["sessions"][-1].update(ended=now(), status=status, **facts)
        write_json(self.path / "manifest.json", manifest)

    @property
    def status(self) -> str:
        """How the last session ended, or `running`."""
        return str(self.manifest()["sessions"][-1]["status"])

    def append_row(self, row: dict[str, Any]) -> None:
        """Adds a row to the metrics, as one write that ends in a line end."""
        line = json.dumps(finite(row), allow_nan=False) + "\n"
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def rows(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Rows of the metrics.

        Args:
            kind: `train` or `validation`; both if None.
        """
        return [row for row in read_rows(self.path) if kind in (None, row["kind"])]

    def truncate_rows(self, iteration: int) -> None:
        """Drops the rows after an iteration, which a resumed run writes again."""
        kept = [row for row in self.rows() if row["iteration"] <= iteration]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_text(self.path / "metrics.jsonl", text)


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the metrics of a run, also while another process writes them.

    Args:
        path: The run's folder.

    Returns:
        The rows; a last line that is not whole yet is left out, and so is a
        file that is not there.
    """
    try:
        text = (path / "metrics.jsonl").read_text("utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


def check_vacant(path: pathlib.Path) -> None:
    """Refuses a folder that holds anything.

    Args:
        path: The folder.

    Raises:
        GradmapError: If it is a file or not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise GradmapError(
            f"{path} exists and is not empty; choose another --out, or continue the run with "
            f"--resume {path}"
        )
