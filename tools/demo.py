"""Called by tools/demo: three homes, real readings, and a check that every one arrived everywhere, once and in order."""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
import harness  # noqa: E402


def load():
    with open("/proc/loadavg") as file:
        return file.read().split()[0]


def memory_available_percent():
    with open("/proc/meminfo") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in file}
    return f"{100 * sizes['MemAvailable'] / sizes['MemTotal']:.1f}"


def temperature():
    for path in sorted(glob.glob("/sys/class/thermal/thermal_zone*/temp")):
        try:
            with open(path) as file:
                return f"{int(file.read()) / 1000:.1f}"
        except (OSError, ValueError):
            continue
    return None


def network_bytes(column):
    def read():
        with open("/proc/net/dev") as file:
            return str(sum(int(line.split(":")[1].split()[column]) for line in file.readlines()[2:]))
    return read


READINGS = {
    "alice": {"machine/load": load, "machine/temperature": temperature},
    "bob": {"machine/memory": memory_available_percent},
    "carol": {"machine/network/received": network_bytes(0), "machine/network/sent": network_bytes(8)},
}


class Sensor:
    """An unmodified client that publishes one line after the other: mosquitto_pub -l."""

    def __init__(self, node, topic, read):
        self.topic, self.read, self.sent = topic, read, []
        self.process = subprocess.Popen(["mosquitto_pub", "-p", str(node.mqtt_port), "-t", topic, "-q", "1", "-l"],
                                        stdin=subprocess.PIPE, text=True)

    def publish(self):
        value = self.read()
        self.sent.append((time.monotonic(), value))
        self.process.stdin.write(value + "\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Display:
    """mosquitto_sub at one home for everything of the other two; prints and keeps what comes."""

    def __init__(self, node, others):
        self.name, self.got = node.name, {}
        filters = [part for other in others for part in ("-t", f"@{other}/#")]
        self.process = subprocess.Popen(["mosquitto_sub", "-p", str(node.mqtt_port), "-q", "1", "-v", *filters],
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            topic, _, value = line.rstrip("\n").partition(" ")
            self.got.setdefault(topic, []).append((time.monotonic(), value))
            print(f"at {self.name:<6} {topic:<32} {value}", flush=True)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()


def main():
    arguments = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    arguments.add_argument("--seconds", type=int, default=10, help="how long readings are published (10)")
    seconds = arguments.parse_args().seconds
    if seconds < 1:
        arguments.error("--seconds must be at least 1")
    for program in ("mosquitto_pub", "mosquitto_sub"):
        if shutil.which(program) is None:
            sys.exit(f"tools/demo: {program} is missing")
    if temperature() is None:
        print("This machine tells no temperature: that reading is left out.")
        del READINGS["alice"]["machine/temperature"]

    with harness.World() as world:
        print("Three homes: alice founds a network, bob and carol join it.")
        nodes = {"alice": world.found("alice")}
        for name in ("bob", "carol"):
            nodes[name] = world.join(nodes["alice"], name)
        for name, node in nodes.items():
            node.diot("share", "add", "machine/#", "--preset", "public")
            print(f"  @{name}: MQTT on 127.0.0.1:{node.mqtt_port}, shares machine/#")
        displays = []
        for name, node in nodes.items():
            others = [other for other in nodes if other != name]
            displays.append(Display(node, others))
            world.cleanup.callback(displays[-1].close)
        for name, node in nodes.items():
            for other in nodes:
                if other != name:
                    node.wait_topic(f"@{other}/#")
        sensors = {}
        for name, readings in READINGS.items():
            for topic, read in readings.items():
                sensors[f"@{name}/{topic}"] = Sensor(nodes[name], topic, read)
        print(f"Publishing for {seconds} s at home; what arrives elsewhere:")
        begin = time.monotonic()
        for second in range(seconds):
            time.sleep(max(0.0, begin + second - time.monotonic()))
            for sensor in sensors.values():
                sensor.publish()
        for sensor in sensors.values():
            sensor.close()

        wrong = 0
        print("\nreading                            sent   arrived at")
        for topic, sensor in sensors.items():
            values = [value for _, value in sensor.sent]
            arrived = []
            for display in displays:
                if topic.startswith(f"@{display.name}/"):
                    continue
                try:
                    harness.wait_until(lambda: len(display.got.get(topic, [])) >= len(values), 10)
                except AssertionError:
                    pass
                got = display.got.get(topic, [])
                good = [value for _, value in got] == values
                wrong += not good
                slowest = max((there - sent for (there, _), (sent, _) in zip(got, sensor.sent)), default=0)
                arrived.append(f"{display.name} {len(got)} {'ok' if good else 'WRONG'} ({slowest * 1000:.0f} ms at most)")
            print(f"{topic:<34} {len(values):>4}   {', '.join(arrived)}")
        if wrong:
            print("\nNot everything arrived once and in order.")
            raise SystemExit(1)
        print("\nEvery reading arrived at the other homes, once and in order.")


if __name__ == "__main__":
    main()
