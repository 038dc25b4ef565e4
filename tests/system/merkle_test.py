"""The Merkle code and the exported log beside npm's @transmute/rfc9162: an independent implementation of RFC 9162."""

import os
import subprocess
import tempfile
import unittest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
NPM = os.path.abspath(os.path.join(HERE, "..", "..", "build", "npm", "node_modules", "@transmute", "rfc9162"))
ECHO = os.path.join(os.path.abspath(harness.BUILD), "merkle_echo")


class Merkle(unittest.TestCase):
    def setUp(self):
        if not os.path.isdir(NPM):
            self.skipTest("npm's @transmute/rfc9162 is not installed; tools/test installs it")
        temporary = tempfile.TemporaryDirectory(prefix="diot-merkle.")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def compare(self, *what):
        done = subprocess.run(["node", os.path.join(HERE, "merkle.js"), NPM, *what], capture_output=True, text=True,
                              timeout=300)
        print("\n" + done.stdout[-1000:], flush=True)
        self.assertEqual(done.returncode, 0, done.stdout[-20000:] + done.stderr)

    def test_roots_and_proofs_of_many_sizes_and_what_becomes_of_broken_ones(self):
        self.compare("proofs", ECHO)

    def test_the_tiles_of_logs_of_several_sizes(self):
        self.compare("tiles", ECHO, self.folder)

    def test_an_export_of_a_home_and_its_checkpoint(self):
        with harness.World() as world:
            alice = world.found("alice")
            for name in ("bob", "carol", "dave", "erin"):
                world.join(alice, name, start=False)
            alice.json("ledger", "export", "--tiles", self.folder)
        self.compare("export", self.folder)


if __name__ == "__main__":
    unittest.main()
