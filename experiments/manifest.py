"""What a result depends on beside its configuration: versions, commit, hardware."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import resource
import subprocess
import sys
from typing import Any

import gradmap

_PACKAGES = (
    "torch", "numpy", "scipy", "pandas", "pydantic", "opendssdirect.py", "simbench",
    "gymnasium", "pettingzoo", "ray",
)  # fmt: skip


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def describe_session(command: str, threads: int, device: str) -> dict[str, Any]:
    """Describes this process and the machine under it.

    Args:
        command: The command line.
        threads: Threads of torch.
        device: Torch device in use.

    Returns:
        A mapping that JSON can hold.
    """
    return {
        "started": now(),
        "ended": None,
        "status": "running",
        "command": command,
        "gradmap": gradmap.__version__,
        "python": platform.python_version(),
        "packages": _versions(),
        "commit": _commit(),
        "hardware": hardware(device),
        "threads": threads,
        "device": device,
        "process": os.getpid(),
    }


def resources_used(device_type: str) -> dict[str, float]:
    """What this process has used so far.

    Args:
        device_type: `cpu` or `cuda`.

    Returns:
        Processor time, s, and peak memory of the process and of torch on the
        GPU if in use, MiB.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    found = {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory_mib": round(used.ru_maxrss / unit, 1),
    }
    torch = sys.modules.get("torch")
    if device_type == "cuda" and torch is not None:
        found["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


def hardware(device: str = "cpu") -> dict[str, Any]:
    """The machine: processor, usable cores, memory in GiB, GPU if in use."""
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": num_cores(),
        "memory_gib": _memory_gib(),
        "gpu": _gpu_name(device),
    }


def num_cores() -> int | None:
    """Cores that this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> dict[str, Any] | None:
    """Commit of the checkout that the package runs from, None outside one."""
    root = pathlib.Path(gradmap.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return {"id": head, "is_dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(size / 2**30, 1)


def _gpu_name(device: str) -> str | None:
    torch = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None:
        return None
    return str(torch.cuda.get_device_name(device))
