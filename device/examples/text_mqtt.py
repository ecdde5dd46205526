"""A bridge between texts and commands over MQTT: what is said on SAY is understood here and told on COMMAND, as JSON.

Needs umqtt.simple (mpremote mip install umqtt.simple), and lights.swm beside it. Name and password of the wireless network
stand in secrets.py: WIFI = ("name", "password").
"""

import json

import signwave
from umqtt.simple import MQTTClient

BROKER, SAY, COMMAND = "192.168.1.10", b"home/say", b"home/command"


def join_network():
    try:
        import network
    except ImportError:  # a PC is in it already
        return
    import time
    from secrets import WIFI

    station = network.WLAN(network.STA_IF)
    station.active(True)
    station.connect(*WIFI)
    while not station.isconnected():
        time.sleep(1)


def on_message(topic, text):
    """Texts come from others: they may hold any bytes at all."""
    found = command.classify(text)
    told = {"label": found.label, "margin": found.margin, "slots": found.slots}
    if found.label:
        client.publish(COMMAND, json.dumps(told).encode())
    print(told)


command = signwave.TextCommand("lights.swm")  # before all else: it wants its memory in one piece
join_network()
client = MQTTClient("signwave", BROKER)
client.set_callback(on_message)
client.connect()
client.subscribe(SAY)
while True:
    client.wait_msg()
