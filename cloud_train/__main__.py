"""Makes `python -m cloud_train` the same as `cloud-train`."""

import sys

from cloud_train.cli import main

if __name__ == "__main__":
    sys.exit(main())
