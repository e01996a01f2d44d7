"""Which GPU a worker computes on: its own, however it was started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import ConfigError
from models.encoding.gpus import choose_gpu
from tasks.encode_scene import EncodingPlace


class TestChoosingGpus:
    def test_a_worker_without_a_gpu_says_so(self):
        with pytest.raises(ConfigError, match="--resources GPU=1"):
            choose_gpu(0, 0)
        assert EncodingPlace(device="cuda").resources == {"GPU": 1.0}
        assert EncodingPlace(device="cpu").resources == {}

    def test_numbered_workers_take_turns_and_one_that_sees_one_takes_it(self, tmp_path):
        assert choose_gpu(4, 6) == 2
        assert choose_gpu(1, 3) == choose_gpu(1, None, tmp_path) == 0
        assert not list(tmp_path.iterdir())

    def test_workers_without_a_number_never_share_one_while_another_is_free(self, tmp_path):
        """Workers that were started by hand all see all GPUs, and none knows of the others."""
        with contextlib.ExitStack() as stack:
            taken = [stack.enter_context(gpu_worker(tmp_path, 2)) for _ in range(2)]
            assert sorted(number for _, number in taken) == [0, 1]
            process, number = taken[0]
            process.kill()
            process.wait()
            with gpu_worker(tmp_path, 2) as (_, next_number):
                assert next_number == number, "a GPU is free again when its worker dies"

    def test_marks_that_cannot_be_made(self, tmp_path):
        (tmp_path / f"terraloom-{os.getuid()}-gpu-0.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES"):
            choose_gpu(2, None, tmp_path)
        assert not (tmp_path / "elsewhere").exists()


@contextlib.contextmanager
def gpu_worker(locks: Path, visible: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a process that chooses a GPU and keeps it; gives the process and its choice."""
    words = (
        f"import sys; from pathlib import Path; from models.encoding.gpus import choose_gpu; "
        f"print(choose_gpu({visible}, None, Path({str(locks)!r})), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.communicate()
