"""On a PC: sends a model to a board that runs update_over_uart.py.

python update_send.py /dev/ttyUSB1 model.swm
"""

import sys

import serial  # pip install pyserial

PIECE = 512  # the board answers when its first 16 bytes, and then when so much, are on flash: it is one piece ahead at most

with open(sys.argv[2], "rb") as f, serial.Serial(sys.argv[1], 115200, timeout=20) as line:
    line.write(f.read(PIECE))
    answer = line.read(1)
    while answer == b"+":
        line.write(f.read(PIECE))
        answer = line.read(1)
    if answer == b".":
        answer = b""
    print((answer + line.readline()).decode().strip() or "the board does not answer")
