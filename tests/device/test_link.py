"""Talking to a board through mpremote: real MicroPython at the other end of a pseudo-terminal."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from device import link
from device.link import Board, BoardError, Port, choose_port, listen
from tests.device.board import emulated_board


@pytest.fixture(scope="module")
def board():
    with emulated_board() as emulated:
        yield Board(emulated.port)


def test_a_script_gets_values_and_answers_while_its_lines_come(board):
    lines = []
    script = "import sys\nprint('hears', word)\nanswer = [sys.implementation.name, number + 1, None]"
    assert board.ask(script, on_line=lines.append, word="größer", number=2**40) == ["micropython", 2**40 + 1, None]
    assert lines == ["hears größer"]


def test_an_answer_that_something_else_printed_into_is_a_sentence(monkeypatch):
    damaged = Board("/dev/none")
    monkeypatch.setattr(damaged, "command", lambda *_, on_line, **__: on_line('signwave-answer:{"a": 1'))
    with pytest.raises(BoardError, match="was damaged"):
        damaged.ask("answer = 1")


def test_files_arrive_as_they_are(board):
    files = {"/d/e/all bytes": bytes(range(256)) * 50, "/empty": b"", "/d/é.txt": b"\r\n\x04\x03\x01"}
    seen = []
    board.copy(files, on_file=seen.append)
    assert seen == list(files)
    script = "answer = []\nfor path in paths:\n    with open(path, 'rb') as f: answer.append(f.read().hex())"
    assert [bytes.fromhex(text) for text in board.ask(script, paths=list(files))] == list(files.values())


def test_the_boards_errors_become_sentences(board):
    for script, words in (
        ("1 / 0", "on the board: ZeroDivisionError"),
        ("import signwave", "signwave device install"),
        ("bytearray(10_000_000)", "not enough RAM"),
        ("raise OSError(28)", "flash is full"),
    ):
        with pytest.raises(BoardError, match=words):
            board.ask(script)


def test_a_board_that_never_answers_is_given_up():
    with emulated_board() as stuck:
        begin = time.monotonic()
        with pytest.raises(BoardError, match="did not answer within 3 s.*signwave device flash"):
            Board(stuck.port).ask("while True: pass", timeout_s=3)
        assert time.monotonic() - begin < 10


def test_a_port_without_micropython_says_to_flash():
    """A socket in place of a serial line: pyserial opens it by address, and mpremote's own time limit works on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(BoardError, match="no MicroPython answers .*signwave device flash"):
            Board(f"socket://127.0.0.1:{server.getsockname()[1]}").ask("answer = 1", timeout_s=40)


def test_a_port_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BoardError, match="there is no port .*none"):
        Board(str(tmp_path / "none")).ask("answer = 1")
    with pytest.raises(BoardError, match="cannot open rfc2217"):
        Board("rfc2217://127.0.0.1:9").ask("answer = 1")
    with pytest.raises(BoardError, match="there is no port"):
        next(listen(str(tmp_path / "none")))


def test_the_only_board_is_chosen_and_several_are_a_question(monkeypatch):
    one = Port("/dev/ttyACM0", "", "303a:1001", "Espressif")
    other, plain = Port("/dev/ttyUSB0", "", "10c4:ea60", "CP210x converter"), Port("/dev/ttyS0", "", None, None)
    assert choose_port("COM3") == "COM3"
    for found, expected in (([one, plain], "/dev/ttyACM0"), ([plain], "no board found"), ([one, other], "--port /dev/ttyUSB0")):
        monkeypatch.setattr(link, "ports", lambda found=found: found)
        if expected == one.device:
            assert choose_port(None) == expected
        else:
            with pytest.raises(BoardError, match=expected):
                choose_port(None)


def test_the_monitor_prints_what_the_program_prints_and_leaves_it_running():
    program = """import time
while True:
    print("tick")
    begin = time.ticks_ms()
    while time.ticks_ms() - begin < 50: pass"""
    with emulated_board() as busy:
        Board(busy.port).command(["exec", "--no-follow", program], timeout_s=20)
        command = [sys.executable, "-m", "signwave_cli", "device", "monitor", "--port", busy.port]
        for _ in range(2):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert any(line.startswith("tick") for line in (process.stdout.readline() for _ in range(5)))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            assert process.returncode == 0 and "Traceback" not in errors


def test_the_monitor_starts_the_program_anew_when_asked():
    with emulated_board() as emulated:
        heard = b""
        for data in listen(emulated.port, reset=True):
            heard += data
            if b"soft reboot" in heard:
                break
        assert b"raw REPL" not in heard
