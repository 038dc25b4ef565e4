"""A home beside the mosquitto that was there before: [[upstream]] and `diot import`, with mosquitto 2.0.11 as the peer."""

import os
import subprocess
import unittest

import harness


class Mosquitto:
    """A broker with its own folder and port; survives nothing unless told to."""

    def __init__(self, world, *lines):
        self.port = harness.free_ports(1)[0]
        self.mqtt_port = self.port  # as a harness.Subscriber wants it
        self.config = os.path.join(world.folder, f"mosquitto-{self.port}.conf")
        with open(self.config, "w") as file:
            file.write("\n".join([f"listener {self.port} 127.0.0.1", "allow_anonymous true", "user root",
                                  "persistence false", *lines]) + "\n")
        self.process = None
        world.cleanup.callback(self.stop)
        self.start()

    def start(self):
        self.process = subprocess.Popen(["mosquitto", "-c", self.config], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=harness.die_with_the_test)
        harness.wait_until(lambda: self.publish("probe", "x") == 0, what="mosquitto")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def publish(self, topic, message, *options):
        return subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", topic, "-m", message, *options],
                              stderr=subprocess.DEVNULL, timeout=harness.TIMEOUT_S).returncode


class Upstreams(unittest.TestCase):
    def home(self, world, hub, topics, more=""):
        node = world.found("alice", start=False)
        with open(os.path.join(node.home, "diot.toml"), "a") as config:
            config.write(f'\n[[upstream]]\nname = "hub"\naddress = "127.0.0.1:{hub.port}"\ntopics = {topics}\n{more}\n')
        return node.start()

    def joined(self, node, connected=True):
        return harness.wait_until(
            lambda: next((u for u in node.json("status")["upstreams"] if u["connected"] == connected), None),
            what="the upstream")

    def ready(self, subscriber, publish):
        """Until a subscription is there: mosquitto_sub does not say so."""
        harness.wait_until(lambda: publish("probe", "x") or any("probe" in line for line in subscriber.lines))
        subscriber.lines.clear()

    def both_ways(self, protocol, expected):
        with harness.World() as world:
            hub = Mosquitto(world)
            node = self.home(world, hub, '["# both 2"]', f'protocol = "{protocol}"')
            self.assertEqual(self.joined(node)["protocol"], expected)
            at_hub, at_home = world.subscribe(hub, "#", "-q", "2"), world.subscribe(node, "#", "-q", "2")
            self.ready(at_home, hub.publish)
            self.ready(at_hub, node.publish)
            harness.wait_until(lambda: at_home.lines, what="the last probe here")
            at_home.lines.clear()
            for qos in "012":
                node.publish("from/home", qos, "-q", qos)
                hub.publish("from/hub", qos, "-q", qos)
            wanted = sorted([f"from/home {qos}" for qos in "012"] + [f"from/hub {qos}" for qos in "012"])
            for subscriber in (at_hub, at_home):
                harness.wait_until(lambda s=subscriber: sorted(x for x in s.lines if x.startswith("from")) == wanted,
                                   what=f"{wanted}, there: {subscriber.lines}")
            # Nothing goes round: another exchange later each is still there once.
            node.publish("end", "1", "-q", "1")
            hub.publish("end", "2", "-q", "1")
            for subscriber in (at_hub, at_home):
                subscriber.wait_for("end 1")
                subscriber.wait_for("end 2")
                self.assertEqual(sorted(x for x in subscriber.lines if x.startswith("from")), wanted)

    def test_both_ways_with_version_5(self):
        self.both_ways("auto", "5.0")

    def test_both_ways_with_version_3_1_1(self):
        self.both_ways("3.1.1", "3.1.1 bridge")

    def test_nothing_acknowledged_is_lost_while_it_is_away(self):
        with harness.World() as world:
            hub = Mosquitto(world)
            node = self.home(world, hub, '["x/# out 1"]')
            self.joined(node)
            hub.stop()
            self.joined(node, connected=False)
            for number in range(50):
                node.publish("x/y", str(number), "-q", "1")
            node.kill()
            hub.start()
            lines = world.subscribe(hub, "x/#", "-q", "1")
            harness.wait_until(lambda: hub.publish("x/probe", "x") or lines.lines)
            node.start()
            lines.wait_for("x/y 49")
            self.assertEqual([line for line in lines.lines if line.startswith("x/y")], [f"x/y {n}" for n in range(50)])

    def test_credentials_tls_and_state(self):
        from listeners_test import make_certificates

        with harness.World() as world:
            make_certificates(world.folder)
            with open(os.path.join(world.folder, "hub.passwords"), "w") as file:
                file.write("alice:secret\n")
            harness.run("mosquitto_passwd", "-U", file.name)
            secure = harness.free_ports(1)[0]
            hub = Mosquitto(world, f"listener {secure} 127.0.0.1", f"password_file {file.name}",
                            f"cafile {world.folder}/ca.crt", f"certfile {world.folder}/server.crt",
                            f"keyfile {world.folder}/server.key")
            plain, hub.port = hub.port, secure
            password = os.path.join(world.folder, "password")
            with open(password, "w") as file:
                file.write("wrong\n")
            settings = f'user = "alice"\npassword_file = "{password}"\ntls = true\nca = "{world.folder}/ca.crt"'
            node = self.home(world, hub, '["x out 1"]', settings)
            harness.wait_until(lambda: "0x8" in node.json("status")["upstreams"][0]["error"], what="the refusal")
            node.stop()
            with open(password, "w") as file:
                file.write("secret\n")
            node.start()
            self.joined(node)
            hub.port = plain
            state = world.subscribe(node, "$SYS/broker/connection/hub/state")
            state.wait_for("$SYS/broker/connection/hub/state 1")
            hub.stop()
            state.wait_for("$SYS/broker/connection/hub/state 0")


if __name__ == "__main__":
    unittest.main()
