"""Whether this process may open a socket for every device."""

import resource

from edge_agent.errors import ConfigError

# Standard streams, the selector, a device's files while it downloads: what else is open.
_SPARE = 64


def require_descriptors(sockets: int) -> None:
    """See to it that so many sockets can be open at once.

    Raises:
        ConfigError: the limit that this process may set itself is too low.
    """
    needed = sockets + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            "too_few_descriptors",
            f"{sockets} devices need {needed} file descriptors, the hard limit is {hard}",
            f"raise it with `ulimit -n {needed}`, or let several processes simulate a part each",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
