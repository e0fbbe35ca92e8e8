"""The one place that knows Ray: joining a cluster, and what is said where that fails.

Every machine of a cluster has raiha installed, and sees galleries and photos under the same paths.
"""

from types import ModuleType

from ..reasons import one_line

LOCAL = "local"  # a cluster of this machine alone, gone with this process


def ray_module() -> ModuleType:
    """Ray, imported when it is first needed. Raises: ValueError where it is not installed."""
    try:
        import ray  # an extra: it is large, and one machine needs none of it
    except ImportError:
        raise ValueError("a cluster needs Ray; install it with `pip install raiha[ray]`") from None
    return ray


def join(address: str) -> int:
    """Join a cluster; a second call of a process stays in the one that it is in.

    Args: address: "local", "auto" for the cluster that runs on this machine, "HOST:PORT" of its head, or
        "ray://HOST:10001" from outside.
    Returns: the processors that the cluster has.
    Raises: ConnectionError naming the address where no cluster answers.
    """
    ray = ray_module()
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=None)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise ConnectionError(f"no Ray cluster answers at '{address}': {one_line(error)}") from None
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def leave() -> None:
    """Leave the cluster; one of this machine alone ends."""
    ray_module().shutdown()
