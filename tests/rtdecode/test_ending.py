from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from rtdecode.ending import stopped_by_signals

ENOUGH_S = 30.0


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_is_then_as_it_was_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stopped = threading.Event()
    with stopped_by_signals(stopped.set):
        signal.raise_signal(number)
        assert stopped.wait(ENOUGH_S)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process there")
def test_a_signal_that_strikes_inside_a_destructor_is_not_lost() -> None:
    code = """
import signal, threading
from rtdecode.ending import stopped_by_signals

class Fragile:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

stopped = threading.Event()
with stopped_by_signals(stopped.set):
    Fragile()
    assert stopped.wait(30)
print("stopped")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process there")
def test_a_second_signal_ends_the_process_at_once() -> None:
    code = """
import signal, threading
from rtdecode.ending import stopped_by_signals

stopped = threading.Event()
with stopped_by_signals(stopped.set):
    signal.raise_signal(signal.SIGTERM)
    assert stopped.wait(30)
    signal.raise_signal(signal.SIGTERM)
    threading.Event().wait()  # hangs
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGTERM


def test_on_another_thread_it_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with stopped_by_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(ENOUGH_S)
    assert seen == [before]
