"""The packet codec beside npm's mqtt-packet: every packet that it can build is decoded and encoded alike."""

import os
import subprocess
import unittest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
NPM = os.path.join(HERE, "..", "..", "build", "npm", "node_modules", "mqtt-packet")


class Packets(unittest.TestCase):
    def test_every_packet_of_mqtt_packet(self):
        if not os.path.isdir(NPM):
            self.skipTest("npm's mqtt-packet is not installed; tools/test installs it")
        done = subprocess.run(["node", os.path.join(HERE, "packets.js"), os.path.abspath(NPM),
                               os.path.join(os.path.abspath(harness.BUILD), "packet_echo")],
                              capture_output=True, text=True, timeout=300)
        print("\n" + done.stdout[-200:], flush=True)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr)


if __name__ == "__main__":
    unittest.main()
