"""Real diot nodes for the system tests: each in a temporary folder, on free ports, stopped by pid.

A test is a Python file tests/system/*_test.py that uses unittest and:

    with harness.World() as world:
        alice = world.found("alice")
        bob = world.join(alice, "bob")
        ...

Nothing sleeps: conditions are waited for, with `diot wait` or wait_until. When a test fails the nodes' logs are printed.
"""

import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("DIOT_BUILD") or os.path.join(os.path.dirname(__file__), "..", "..", "build", "dev")
DIOT = os.path.join(os.path.abspath(BUILD), "diot")
TIMEOUT_S = int(os.environ.get("DIOT_TEST_TIMEOUT", "60"))


def holds_freed_memory():
    """Whether this is a build with AddressSanitizer: what a node frees still counts as its memory (its quarantine)."""
    with open(DIOT, "rb") as program:
        return b"__asan_init" in program.read()


PR_SET_PDEATHSIG = 1  # prctl(2)
libc = ctypes.CDLL(None)


def die_with_the_test():
    """In a child process: it goes when the test is killed too."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(*command, timeout_s=TIMEOUT_S):
    """Runs a program that must succeed; returns its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"`{' '.join(command)}` ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def ports_of_tests():
    """Ports below those that the system gives to outgoing connections and to who asks for any port: such a port can be
    somebody else's between its choice and the start of the node that is to listen on it."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as known:
        first_of_system, _ = known.read().split()
    return range(10_000, int(first_of_system))


held_ports = []  # abstract unix sockets, one a port: this process's, as far as other tests go, until it ends


def free_ports(count):
    """Ports that nobody holds, for TCP and UDP; different ones, and those of no test that runs beside this one."""
    ports = []
    while len(ports) < count:
        port = random.choice(ports_of_tests())
        with contextlib.ExitStack() as probes:
            ours = socket.socket(socket.AF_UNIX)
            try:
                ours.bind(f"\0diot-test-port-{port}")
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    probes.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            except OSError:
                ours.close()
                continue
        held_ports.append(ours)
        ports.append(port)
    return ports


def wait_until(condition, timeout_s=TIMEOUT_S, what="the condition"):
    """Returns the first true value of condition(); fails after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {timeout_s} s")
        time.sleep(0.02)


class Failed(AssertionError):
    def __init__(self, command, code, out, err):
        super().__init__(f"`diot {' '.join(command)}` ended with {code}\n{out}{err}")
        self.code, self.out, self.err = code, out, err


class Node:
    """One home and, while it runs, its process."""

    def __init__(self, folder, name, ports=None):
        self.name = name
        self.home = os.path.join(folder, name)
        self.log_path = os.path.join(folder, name + ".log")
        self.mqtt_port, self.api_port, self.overlay_port = ports or free_ports(3)
        self.process = None
        self.cut_off = []

    def addresses(self):
        return ["--mqtt", f"127.0.0.1:{self.mqtt_port}", "--api", f"127.0.0.1:{self.api_port}",
                "--overlay", f"127.0.0.1:{self.overlay_port}"]

    def environment(self):
        own = {"DIOT_HOME": self.home, "NO_COLOR": "1"}
        if self.cut_off:
            own["LD_PRELOAD"] = os.path.join(os.path.abspath(BUILD), "tests", "no_route.so")
            own["DIOT_NO_ROUTE"] = " ".join(str(node.overlay_port) for node in self.cut_off)
            # The sanitizer wants to be the first library, but gets along behind one that is none of its own.
            own["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return {**os.environ, **own}

    def keep_apart(self, *others):
        """From the next start of either on neither finds a way to the other's overlay address, as if no route led there."""
        for other in others:
            self.cut_off.append(other)
            other.cut_off.append(self)

    def diot(self, *arguments, input=None, timeout_s=TIMEOUT_S):
        """Runs a command and returns its standard output; raises Failed unless it ends with 0."""
        done = subprocess.run([DIOT, *arguments], env=self.environment(), input=input, capture_output=True, text=True,
                              timeout=timeout_s)
        if done.returncode != 0:
            raise Failed(arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.diot(*arguments, "--json"))

    def start(self, ready=True, command=()):
        """Runs the node; `command` goes before it, and must become it (exec)."""
        assert self.process is None, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*command, DIOT, "run"], env=self.environment(), stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, preexec_fn=die_with_the_test)
        if ready:
            self.diot("wait", "--ready", "--timeout", str(TIMEOUT_S), timeout_s=TIMEOUT_S + 10)
        return self

    def stop(self, how=signal.SIGTERM, timeout_s=TIMEOUT_S):
        """Returns the exit code; negative: the signal that ended it."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} did not end within {timeout_s} s after signal {how}")

    def kill(self):
        return self.stop(signal.SIGKILL)

    def wait_topic(self, topic_filter, timeout_s=TIMEOUT_S):
        self.diot("wait", "--topic", topic_filter, "--timeout", str(timeout_s), timeout_s=timeout_s + 10)

    def publish(self, topic, message, *options):
        subprocess.run(["mosquitto_pub", "-p", str(self.mqtt_port), "-t", topic, "-m", message, *options], check=True,
                       timeout=TIMEOUT_S)

    def log(self):
        try:
            with open(self.log_path, errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""


class Subscriber:
    """mosquitto_sub in the background: `lines` grows as messages arrive (topic, blank, payload)."""

    def __init__(self, node, topic_filter, *options):
        self.lines = []
        self.process = subprocess.Popen(
            ["mosquitto_sub", "-p", str(node.mqtt_port), "-t", topic_filter, "-v", *options],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1, preexec_fn=die_with_the_test)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, line, timeout_s=TIMEOUT_S):
        wait_until(lambda: line in self.lines, timeout_s, f"the arrival of {line!r} (there: {self.lines[-5:]})")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()


class World:
    """A folder of nodes that goes, with everything in it, when the block ends."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="diot-system.")
        self.nodes, self.subscribers, self.cleanup = [], [], contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.cleanup.close()
        for node in self.nodes:
            with contextlib.suppress(AssertionError):
                node.stop(signal.SIGKILL if kind else signal.SIGTERM)
        if kind:
            for node in self.nodes:
                print(f"---- log of {node.name}\n{node.log()[-20000:]}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    def node(self, name):
        """A home that is neither founded nor joined yet."""
        self.nodes.append(Node(self.folder, name))
        return self.nodes[-1]

    def found(self, name, start=True):
        node = self.node(name)
        node.diot("init", "--handle", name, *node.addresses())
        return node.start() if start else node

    def found_with_words(self, name):
        """A home that founded its network, not running, and a line with the 24 words that it showed."""
        node = self.node(name)
        done = subprocess.run([DIOT, "init", "--handle", name, *node.addresses()], env=node.environment(),
                              capture_output=True, text=True, check=True)
        words = dict((int(number), word) for number, word in re.findall(r"\b(\d{1,2}) ([a-z]{3,8})\b", done.stderr))
        assert sorted(words) == list(range(1, 25)), done.stderr
        return node, " ".join(words[number] for number in sorted(words)) + "\n"

    def join(self, inviter, name, start=True, registered=True):
        """`name`: of a new home, or one of node(). `registered` False: while the ledger is out of reach."""
        node = name if isinstance(name, Node) else self.node(name)
        invite = inviter.diot("invite").strip()
        joined = node.json("join", invite, "--handle", node.name, *node.addresses())
        assert registered == (joined["height"] is not None), joined
        return node.start() if start else node

    def subscribe(self, node, topic_filter, *options):
        """A subscriber that is closed with the world. For `@…` filters use node.wait_topic before publishing."""
        subscriber = Subscriber(node, topic_filter, *options)
        self.subscribers.append(subscriber)
        self.cleanup.callback(subscriber.close)
        return subscriber

    def paho(self, node, *arguments, **options):
        """A paho client that is closed with the world."""
        from paho_client import Paho  # here, so that the demo runs without paho

        client = Paho(node, *arguments, **options)
        self.cleanup.callback(client.close)
        return client
