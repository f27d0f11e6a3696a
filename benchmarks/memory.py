"""The memory and the processor time of the processes of a run over time."""

import threading
import time

import psutil


class Sampler:
    """Samples this process and its child processes.

    Args:
        every_s: the interval of samples.
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
    """Return the part of the run that a process has; None for a process that only starts others."""
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
