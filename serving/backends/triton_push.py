"""Puts a verified ONNX model into the model repository that Triton servers read, and takes it away again.

A folder that this machine and the servers share is the operator's to name; a version only says that it wants to be put
there. Its folder is named after its content, so two versions never overwrite each other, and it appears by one rename,
so a server never reads half of it. Who uses a model holds a lock; the last one takes the model away.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from serving.backends.onnx_file import read_onnx_file
from serving.protocol.errors import invalid
from serving.protocol.messages import Signature, TensorSpec

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_FILE: Final = "model.onnx"
_VERSION: Final = "1"

Describe = Callable[[Path], Signature]
"""Read what an ONNX file takes and gives."""


class PushedModel:
    """One model in one repository folder."""

    def __init__(self, onnx: Path, folder: Path, name: str, max_batch: int) -> None:
        """Name the model's folder; nothing is written.

        Args:
            onnx: the verified file; its external data lies beside it.
            folder: the repository, as a path of this machine.
            name: how the model is to be called there, before a mark of its content.
            max_batch: most rows of a batch.

        Raises:
            ServingError: INVALID, the name could lead out of the folder, there is no such folder, or the file is no
                ONNX model.
        """
        if not _NAME.fullmatch(name):
            raise invalid(f"tag 'shepherd.triton.model' is '{name[:200]}': a pushed model needs a plain name")
        if not folder.is_dir():
            raise invalid(f"the folder of setting triton_push_folder is not there: {folder}")
        self._onnx = onnx
        self._folder = folder
        self._max_batch = max_batch
        self._external = sorted(_external_files(onnx))
        self.name = f"{name}.{self._mark()}.{max_batch}"
        """Of the model, to Triton."""
        self._lock: IO[bytes] | None = None

    def _mark(self) -> str:
        """Mark all that is served, weights in external data too: of two trainings the graph is often the same."""
        files = {_FILE: self._onnx} | {name: self._onnx.parent / name for name in self._external}
        digest = hashlib.sha256()
        for name, path in files.items():
            with path.open("rb") as file:
                digest.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode())
        return digest.hexdigest()[:12]

    def place(self, describe: Describe) -> None:
        """See that the model lies in the repository, and hold on to it."""
        self._lock = (self._folder / f".{self.name}.lock").open("ab")
        fcntl.flock(self._lock, fcntl.LOCK_SH)  # waits while another process takes the model away
        target = self._folder / self.name
        if target.is_dir():
            return
        unfinished = Path(tempfile.mkdtemp(prefix=f".{self.name}.", dir=self._folder))
        try:
            self._fill(unfinished, describe(self._onnx))
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was first
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def leave(self, unload: Callable[[], None]) -> None:
        """Let go of the model; the last one has it unloaded and takes its files away."""
        if self._lock is None:
            return
        with self._lock as lock:
            self._lock = None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            unload()
            shutil.rmtree(self._folder / self.name, ignore_errors=True)

    def _fill(self, folder: Path, signature: Signature) -> None:
        """Copy the files in; servers run as other users, and may read but not change them."""
        version = folder / _VERSION
        version.mkdir()
        shutil.copyfile(self._onnx, version / _FILE)
        for name in self._external:  # inside its folder: that was checked when the version was fetched
            (version / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._onnx.parent / name, version / name)
        (folder / "config.pbtxt").write_text(render_config(self.name, signature, self._max_batch), encoding="utf-8")
        for path in (folder, *folder.rglob("*")):
            os.chmod(path, 0o755 if path.is_dir() else 0o444)  # noqa: PTH101


def _external_files(onnx: Path) -> frozenset[str]:
    with onnx.open("rb") as file:
        return read_onnx_file(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))).external_files


def render_config(name: str, signature: Signature, max_batch: int) -> str:
    """Write the `config.pbtxt` of an ONNX model; its first axis is Triton's to batch along where all are dynamic."""
    batched = signature.batchable and max_batch > 1
    lines = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f'default_model_filename: "{_FILE}"',
        f"max_batch_size: {max_batch if batched else 0}",
        *(_tensor("input", spec, skip=batched) for spec in signature.inputs),
        *(_tensor("output", spec, skip=batched) for spec in signature.outputs),
    ]
    if batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _tensor(side: str, spec: TensorSpec, *, skip: bool) -> str:
    sizes = ", ".join(str(size) for size in spec.shape[1 if skip else 0 :])
    name = spec.name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return f'{side} [ {{ name: "{name}" data_type: TYPE_{datatype} dims: [ {sizes} ] }} ]'
