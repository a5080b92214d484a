"""Prints every prediction of a fleet: python examples/print_predictions.py HOST PORT"""

import sys

import paho.mqtt.client as mqtt

from contract.codec import decode
from contract.messages import Prediction
from contract.topics import Topics


def show(_client, _user, message):
    seen = decode(Prediction, message.payload)
    print(f"{seen.ts}  {seen.device}  {seen.label}  {seen.score:.2f}  {seen.latency_ms.total} ms", flush=True)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_message = show
client.on_connect = lambda *_: client.subscribe(Topics().every_device("prediction/#"))
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
