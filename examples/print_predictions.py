"""Prints every prediction of a fleet: python examples/print_predictions.py HOST PORT"""

import sys

from paho.mqtt import subscribe

from contract.codec import decode
from contract.messages import Prediction
from contract.topics import Topics


def show(_client, _user, message):
    seen = decode(Prediction, message.payload)
    print(seen.ts, seen.device, seen.label, f"{seen.score:.2f}", flush=True)


subscribe.callback(show, Topics().every_device("prediction/#"), hostname=sys.argv[1], port=int(sys.argv[2]))
