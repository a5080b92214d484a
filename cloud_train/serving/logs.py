"""Log files that rotate: serve.log says what happens, access.log has a line for each request."""

import logging
import sys
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cloud_train.serving.config import LogConfig
from host_cli.errors import WrongUsage

SERVE_LOG, ACCESS_LOG = "serve.log", "access.log"
ACCESS_LOGGER = "cloud_train.serving.access"
SERVE_LOGGER = "cloud_train.serving"


def start_logs(config: LogConfig, web_logger: str) -> None:
    """Send what is logged to the files, or to stderr where no folder is named.

    Args:
        config: where, and how much.
        web_logger: what the web server calls its logger; its messages belong to serve.log.

    Raises:
        WrongUsage: the folder cannot be written to.
    """
    serve, access = _open(config, SERVE_LOG), _open(config, ACCESS_LOG)
    for name, handler in ((SERVE_LOGGER, serve), (web_logger, serve), (ACCESS_LOGGER, access)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    # A full disk must not fill stderr with tracebacks.
    logging.raiseExceptions = False


def _open(config: LogConfig, name: str) -> logging.Handler:
    handler = _handler(config, name)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler


def _handler(config: LogConfig, name: str) -> logging.Handler:
    if config.folder is None:
        return logging.StreamHandler(sys.stderr)
    folder = Path(config.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            folder / name, maxBytes=config.max_bytes, backupCount=config.files, encoding="utf-8"
        )
    except OSError as error:
        hint = "name a folder that can be written to: --log-dir"
        raise WrongUsage(f"no log can be written: {error.strerror}", str(folder), hint) from error
