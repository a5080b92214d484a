"""Resets the Edge TPU on PCIe through the kernel, for which the agent needs the right to write a file.

Source: Linux, Documentation/ABI/testing/sysfs-bus-pci, `reset`; google/gasket-driver, class apex in sysfs.
"""

import os
from pathlib import Path
from typing import Optional

from contract.messages import Problem

_RESET = "sys/class/apex/apex_0/device/reset"


def reset(root: Path = Path("/")) -> Optional[Problem]:
    """Reset the device; it takes up to a second. `root` holds /sys.

    Returns:
        Why it could not be done, None if it was.
    """
    try:
        # Without O_CREAT: a file that is not there must not be made.
        descriptor = os.open(str(root / _RESET), os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
    except OSError as error:
        return Problem(
            "edgetpu_reset",
            f"the Edge TPU cannot be reset: /{_RESET}: {os.strerror(error.errno or 0)}",
            f"a rule at boot may give the right: chgrp apex /{_RESET} && chmod 0220 /{_RESET}",
        )
    return None
