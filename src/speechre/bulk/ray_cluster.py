"""The parts of a long run as tasks of a Ray cluster, whose machines share the folders of sound and rows."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from typing import Any

from speechre.bulk.run import BulkRun, Summary, noted_num_shards, run_shard
from speechre.bulk.shards import Shard
from speechre.errors import SpeechreError, UsageError

LOCAL = "local"
"""The address of a cluster that is started on this machine, for this run alone."""
_PATIENCE_S = 10.0


def run_on_ray(
    run: BulkRun, address: str, num_shards: int | None = None, cpus_each: int = 2, gpus_each: float = 0.0
) -> Iterator[Summary | SpeechreError]:
    """All parts of ``run``, each as soon as it is done, ``cpus_each`` cores for one.

    ``num_shards`` is how many there are: by default as many as the run in the folder has, else as many as the cluster
    has room for at once. A part whose machine is lost begins again where its rows end. Raises :class:`UsageError` where
    there is no such cluster or no room in it; what ends a part (a faulty manifest, another run's folder, no model) is
    given in its place, and the others go on.
    """
    ray = _connect(address)
    try:
        room = _room(ray, cpus_each, gpus_each)
        if not room:
            raise UsageError(
                f"--ray {address}: no machine of the cluster has {cpus_each} CPUs and {gpus_each:g} GPUs, which a part "
                "needs; choose another --ray-cpus or --device"
            )
        num_shards = num_shards or noted_num_shards(run.folder) or room
        task = ray.remote(num_cpus=cpus_each, num_gpus=gpus_each, max_retries=3)(_work)
        waiting = [task.remote(run, Shard(number, num_shards), cpus_each) for number in range(1, num_shards + 1)]
        while waiting:
            ready, waiting = ray.wait(waiting)
            yield _result(ray, ready[0])
    finally:
        ray.shutdown()


def _room(ray: Any, cpus_each: int, gpus_each: float) -> int:
    """How many parts the cluster works on at once."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            room += int(min(has.get("CPU", 0) // cpus_each, has.get("GPU", 0) // gpus_each if gpus_each else math.inf))
    return room


def _connect(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what a task without a GPU sees stays as it is
    try:
        import ray
    except ImportError as error:
        raise UsageError('--ray needs Ray; install it: pip install "speechre[ray]"') from error
    _check_somebody_listens(address)
    try:
        ray.init(
            address=None if address == LOCAL else address,
            include_dashboard=False if address == LOCAL else None,
            configure_logging=False,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address}: no cluster there ({str(error).splitlines()[0]})") from error
    return ray


def _check_somebody_listens(address: str) -> None:
    """Ray itself looks for minutes before it gives up. Raises :class:`UsageError`."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: no cluster there ({error}); see ray status") from error


def _work(run: BulkRun, shard: Shard, num_threads: int) -> Summary:
    """In a process of the cluster."""
    import torch

    torch.set_num_threads(num_threads)
    return run_shard(run, shard)


def _result(ray: Any, reference: Any) -> Summary | SpeechreError:
    try:
        summary: Summary = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        return cause if isinstance(cause, SpeechreError) else SpeechreError(f"a part failed: {error}")
    except ray.exceptions.RayError as error:
        return SpeechreError(f"a part was lost with its machine ({str(error).splitlines()[0]}); call again")
    return summary
