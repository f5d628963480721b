import dataclasses
import os
import subprocess
import sys
import time

from tlui.runs.process import Identity, boot_time, identify, liveness, start_time


def test_this_process_is_alive() -> None:
    assert liveness(identify()) == "alive"
    assert Identity.from_dict(identify().to_dict()) == identify()


def test_ended_process_and_zombie_are_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = identify(child.pid)
    assert liveness(who) == "alive"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped: a zombie
    assert start_time(child.pid) is None
    assert liveness(who) == "dead"
    child.communicate()
    assert liveness(who) == "dead"


def test_reused_pid_is_dead() -> None:
    here = identify()
    assert liveness(dataclasses.replace(here, start_time=here.start_time - 1)) == "dead"


def test_reboot_is_dead_but_a_namesake_host_is_not() -> None:
    other = dataclasses.replace(identify(), boot_id="another")
    assert liveness(other) == "dead"
    assert liveness(other, seen=boot_time() - 60) == "dead"
    assert liveness(other, seen=time.time()) == "unknown"  # written after we booted, not by us


def test_other_hosts_and_containers_are_unknown() -> None:
    assert liveness(dataclasses.replace(identify(), host="elsewhere")) == "unknown"
    assert liveness(dataclasses.replace(identify(), namespace="pid:[1]")) == "unknown"


def test_odd_names_in_the_process_table() -> None:
    """A process may be called `) R 1 (`; its start time is read all the same."""
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0)"
    code = f"{rename}; print(1, flush=1); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdin is not None
    child.stdout.readline()
    assert (start_time(child.pid) or 0) > 1000
    child.communicate(b"\n")


def test_damaged_identities_are_none() -> None:
    for given in (None, [], "x", {}, {"host": "a"}, {**identify().to_dict(), "pid": "many"}):
        assert Identity.from_dict(given) is None
