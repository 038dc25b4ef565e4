"""One registrar becomes four witnesses: real processes that agree on blocks, with one of them gone, with two, and healed."""

import json
import os
import subprocess
import unittest

import harness


class WitnessesTest(unittest.TestCase):
    def four(self, world):
        alice = world.found("alice")
        others = [world.join(alice, name) for name in ("bob", "carol", "dave")]
        homes = [alice, *others]
        entry = alice.diot("witness", "invite", "bob,carol,dave").strip()
        for home in others:
            with self.assertRaises(harness.Failed) as asked:
                home.diot("witness", "accept", entry)
            self.assertIn("--yes", asked.exception.err)
            self.assertIn("@dave", asked.exception.err)
            entry = home.diot("witness", "accept", entry, "--yes").strip()
        self.assertEqual(alice.json("witness", "change", entry)["kind"], "witness-change")
        # They decide from the second block behind that one on; the one between is made for somebody's sake.
        homes.append(world.join(alice, "erin"))
        for home in homes:
            harness.wait_until(lambda: len(home.json("witness", "list")["witnesses"]) == 4, what="four witnesses")
        for home in homes[:4]:
            harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 4, what="all four in reach")
        return homes

    def test_four_witnesses_go_on_without_one_of_them_and_stand_still_without_two(self):
        with harness.World() as world:
            alice, bob, carol, dave, erin = self.four(world)
            world.join(bob, "frank", start=False)
            self.assertFalse(alice.json("witness", "list")["trusted"])

            dave.kill()
            world.join(bob, "grace", start=False)

            carol.kill()
            harness.wait_until(lambda: alice.json("witness", "status")["in_reach"] == 2, what="two in reach")
            with self.assertRaises(harness.Failed) as refused:
                world.join(bob, "heidi", start=False)
            self.assertIn("witnesses", refused.exception.err)
            # Messages do not care.
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            reader = world.subscribe(bob, "@alice/sensors/#")
            bob.wait_topic("@alice/sensors/#")
            alice.publish("sensors/temp", "21.5")
            reader.wait_for("@alice/sensors/temp 21.5")

            carol.start()
            dave.start()
            world.join(erin, "ivan", start=False)
            for home in (alice, bob, carol, dave, erin):
                harness.wait_until(lambda: home.json("status")["height"] == alice.json("status")["height"], what="one height")
                verified = home.json("ledger", "verify")
                self.assertEqual(verified["head"], alice.json("status")["head"])

    def test_a_proof_follows_the_change_of_the_witnesses(self):
        with harness.World() as world:
            alice, *_ = self.four(world)
            world.join(alice, "frank", start=False)
            proof = os.path.join(world.folder, "frank.proof")
            with open(proof, "wb") as file:
                file.write(subprocess.run([harness.DIOT, "ledger", "prove", "frank"], env=alice.environment(),
                                          capture_output=True, check=True).stdout)
            network = alice.json("status")["network"]
            shown = world.node("nobody").json("ledger", "check-proof", proof, "--genesis", network)
            self.assertEqual((shown["registered"], shown["witnesses"]), (True, 4))
            self.assertGreaterEqual(shown["votes"], 3)

    def test_who_is_no_witness_changes_nothing(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob")
            with self.assertRaises(harness.Failed) as refused:
                bob.diot("witness", "invite", "bob", "--accept-fragile")
            self.assertIn("not a witness", refused.exception.err)
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("witness", "invite", "bob")
            self.assertIn("--accept-fragile", refused.exception.err)
            entry = alice.diot("witness", "invite", "bob", "--accept-fragile").strip()
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("witness", "change", entry)
            self.assertIn("signature", refused.exception.err)
            self.assertEqual(len(alice.json("witness", "list")["witnesses"]), 1)


if __name__ == "__main__":
    unittest.main()
