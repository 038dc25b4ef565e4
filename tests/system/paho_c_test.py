"""The sample programs of Eclipse Paho for C (Debian's paho.mqtt.c-examples): asynchronous and synchronous clients, MQTT 3.1,
3.1.1 and 5, over TCP, TLS, WebSocket and WebSocket over TLS."""

import contextlib
import os
import shutil
import subprocess
import threading
import unittest

import harness
from listeners_test import make_certificates

VERSIONS = ("31", "311", "5")


@unittest.skipUnless(shutil.which("paho_c_pub"), "paho.mqtt.c-examples is not installed; tools/test installs it")
class PahoC(unittest.TestCase):
    def setUp(self):
        self.world = harness.World()
        self.addCleanup(self.world.__exit__, None, None, None)
        node = self.node = self.world.found("alice", start=False)
        make_certificates(node.home)
        tls, ws, wss = harness.free_ports(3)
        secure = 'certificate = "server.crt"\nkey = "server.key"\n'
        with open(os.path.join(node.home, "diot.toml"), "a") as config:
            config.write(f'\n[[listener]]\nlisten = "127.0.0.1:{tls}"\n{secure}'
                         f'\n[[listener]]\nlisten = "127.0.0.1:{ws}"\nprotocol = "websocket"\n'
                         f'\n[[listener]]\nlisten = "127.0.0.1:{wss}"\nprotocol = "websocket"\n{secure}')
        node.start()
        trust = ["--cafile", os.path.join(node.home, "ca.crt")]
        self.ways = {
            "tcp": ["-c", f"tcp://localhost:{node.mqtt_port}"],
            "tls": ["-c", f"ssl://localhost:{tls}", *trust],
            "ws": ["-c", f"ws://localhost:{ws}/mqtt"],
            "wss": ["-c", f"wss://localhost:{wss}/mqtt", *trust],
        }

    def listen(self, program, *options):
        """A subscriber in the background whose lines grow; subscribed when this returns."""
        before = self.node.json("status")["subscriptions"]
        process = subprocess.Popen([program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   bufsize=1, preexec_fn=harness.die_with_the_test)
        lines = []

        def read():
            for line in process.stdout:
                lines.append(line.rstrip("\n"))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()

        def end():
            process.kill()
            process.wait()
            thread.join()
            process.stdout.close()

        self.world.cleanup.callback(end)
        harness.wait_until(lambda: self.node.json("status")["subscriptions"] > before or process.poll() is not None,
                           what=f"the subscription of {program} {options}: {lines}")
        self.assertIsNone(process.poll(), lines)
        return lines

    def publish(self, program, *options):
        done = subprocess.run([program, *options], capture_output=True, text=True, timeout=harness.TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_version_over_every_way(self):
        for way, to in self.ways.items():
            readers = {}
            for kind in ("c", "cs"):
                for version in VERSIONS:
                    readers[kind, version] = self.listen(f"paho_{kind}_sub", "-t", f"{way}/+/+/+", *to, "-q", "2", "-V", version,
                                                         "-i", f"sub-{way}-{kind}-{version}")
            for kind in ("c", "cs"):
                for version in VERSIONS:
                    for qos in "012":
                        self.publish(f"paho_{kind}_pub", "-t", f"{way}/{kind}/{version}/{qos}", *to, "-q", qos, "-V", version,
                                     "-m", f"{way} {kind} {version} {qos}", "-i", "pub")
            wanted = {f"{way} {kind} {version} {qos}" for kind in ("c", "cs") for version in VERSIONS for qos in "012"}
            for name, lines in readers.items():
                def missing():  # behind a filter with wildcards a line is "LENGTH TOPIC<tab>PAYLOAD"
                    return sorted(wanted - {line.split("\t")[-1] for line in lines})

                with contextlib.suppress(AssertionError):
                    harness.wait_until(lambda: not missing(), timeout_s=20)
                self.assertEqual(missing(), [], f"{name} over {way}: {lines[-5:]}")

    def test_retained_properties_and_a_will(self):
        tcp = self.ways["tcp"]
        self.publish("paho_c_pub", "-t", "kept", *tcp, "-r", "-q", "1", "-m", "value")
        lines = self.listen("paho_c_sub", "-t", "kept", *tcp, "-V", "5")
        harness.wait_until(lambda: "value" in lines, what=f"the retained message: {lines}")
        watcher = self.world.subscribe(self.node, "p", "-V", "mqttv5", "-F", "%E %P %p")
        harness.wait_until(lambda: self.publish("paho_c_pub", "-t", "p", *tcp, "-V", "5", "-m", "x", "--message-expiry", "100",
                                                "--user-property", "a", "1") or "100 a:1 x" in watcher.lines)
        dying = subprocess.Popen(["paho_c_sub", "-t", "nothing", *tcp, "-i", "dying", "--will-topic", "will", "--will-payload",
                                  "gone", "--will-qos", "1"], stdout=subprocess.DEVNULL,
                                 preexec_fn=harness.die_with_the_test)
        will = self.listen("paho_cs_sub", "-t", "will", *tcp)
        harness.wait_until(lambda: self.node.json("status")["subscriptions"] == 4, what="the dying client's subscription")
        dying.kill()
        dying.wait()
        harness.wait_until(lambda: "gone" in will, what=f"the will: {will}")


if __name__ == "__main__":
    unittest.main()
