"""A block of one network, written into another's ledger and proven from there."""

import os
import subprocess
import unittest

import harness


class AnchorTest(unittest.TestCase):
    def test_an_anchor_is_proven_without_either_network(self):
        with harness.World() as world:
            alice, zoe = world.found("alice"), world.found("zoe")
            anchored = alice.json("ledger", "anchor")
            self.assertEqual(anchored["block"], alice.json("status")["head"])
            line = alice.diot("ledger", "anchor").strip()
            self.assertEqual(line, anchored["anchor"])
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("ledger", "anchor", line)
            self.assertIn("this very network", refused.exception.err)
            self.assertEqual(zoe.json("ledger", "anchor", line)["handle"], "zoe")

            proof = os.path.join(world.folder, "zoe.proof")
            with open(proof, "wb") as file:
                subprocess.run([harness.DIOT, "ledger", "prove", "zoe"], env=zoe.environment(), stdout=file, check=True)
            network = zoe.json("status")["network"]
            for home in (alice, zoe):
                home.stop()
            nobody = world.node("nobody")
            shown = nobody.json("ledger", "check-proof", proof, "--genesis", network, "--anchor", line)
            self.assertEqual((shown["anchored"]["network"], shown["anchored"]["block"]),
                             (anchored["network"], anchored["block"]))
            other = line[:-4] + ("AAAA" if not line.endswith("AAAA") else "BBBB")
            with self.assertRaises(harness.Failed):
                nobody.diot("ledger", "check-proof", proof, "--genesis", network, "--anchor", other)


if __name__ == "__main__":
    unittest.main()
