"""The memory of a run's processes over time, and the processor time that each has taken."""

import threading
import time

import psutil


class Sampler:
    """Samples this process and all that it starts.

    Args:
        every_s: how often.
    """

    def __init__(self, every_s: float) -> None:
        self.samples: dict[str, list[tuple[float, int]]] = {}
        """By part of the run: (seconds since the start, resident bytes)."""
        self.cpu_s: dict[str, float] = {}
        """By part of the run: processor time until it was last seen."""
        self._every_s = every_s
        self._started_s = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(self._every_s):
            now_s = time.monotonic() - self._started_s
            this = psutil.Process()
            for process in [this, *this.children(recursive=True)]:
                try:
                    name, size = name_of(process, this), process.memory_info().rss
                    spent = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                if name is not None:
                    self.samples.setdefault(name, []).append((now_s, size))
                    self.cpu_s[name] = spent.user + spent.system


def name_of(process: psutil.Process, this: psutil.Process) -> str | None:
    """Return what part of the run a process is; None for those that only start others."""
    if process.pid == this.pid:
        return "run"
    words = process.cmdline()
    if "mosquitto" in process.name():
        return "broker"
    if "emulator.cli" not in words:
        return None
    if "cloud" in words:
        return "cloud"
    return f"shard {words[words.index('--shard') + 1]}" if "--shard" in words else None
