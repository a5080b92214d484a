"""The least that can answer over MQTT: sends each payload back to its response topic. `mqtt_echo.py PORT`."""

import socket
import sys

import paho.mqtt.client as mqtt


def echo(client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
    """Send it back."""
    client.publish(message.properties.ResponseTopic, message.payload, qos=1)


def main() -> None:
    """Serve until killed."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = echo
    client.on_socket_open = lambda _client, _user, link: link.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    client.on_connect = lambda *_: client.subscribe("echo", 1)
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_forever()


if __name__ == "__main__":
    main()
