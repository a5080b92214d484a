"""Decides where numpy and the TFLite runtime come from, as this Python starts; reefline.pth imports it.

An image's runtime goes with its numpy, its pycoral and its libedgetpu, so they are left together. Where the
image has none, the pair in `runtime/` is put before the image's folders: a numpy that the runtime knows.
"""

import site
import sys
from importlib.machinery import PathFinder

if PathFinder.find_spec("tflite_runtime", site.getsitepackages([sys.base_prefix])) is None:
    sys.path.append(sys.prefix + "/runtime")
