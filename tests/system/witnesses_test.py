"""One registrar becomes four witnesses: real processes that agree on blocks, with one of them gone, with two, and healed."""

import glob
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
            # Who comes now waits for the ledger, and is registered when two thirds are back.
            heidi = world.join(bob, "heidi", registered=False)
            self.assertEqual(heidi.json("status")["handle_state"], "provisional")
            self.assertIn("witnesses are needed", heidi.json("status")["witnesses"])
            # Messages do not care.
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            reader = world.subscribe(bob, "@alice/sensors/#")
            bob.wait_topic("@alice/sensors/#")
            alice.publish("sensors/temp", "21.5")
            reader.wait_for("@alice/sensors/temp 21.5")

            carol.start()
            dave.start()
            world.join(erin, "ivan", start=False)
            harness.wait_until(lambda: heidi.json("status")["handle_state"] == "active", 2 * harness.TIMEOUT_S, "heidi's registration")
            # Of a block that took several rounds a witness shows by which prevotes it went on.
            head = alice.json("status")["height"]
            shown = [alice.json("witness", "justify", "--height", str(height)) for height in range(1, head + 1)]
            self.assertEqual([each["height"] for each in shown], list(range(1, head + 1)))
            for each in shown:
                for row in each["justifications"]:
                    self.assertGreaterEqual(len(row["prevotes"]), 3)
                    self.assertLessEqual({vote["handle"] for vote in row["prevotes"]}, {"alice", "bob", "carol", "dave"})
            for home in (alice, bob, carol, dave, erin):
                harness.wait_until(lambda: home.json("status")["height"] == alice.json("status")["height"], what="one height")
                verified = home.json("ledger", "verify")
                self.assertEqual(verified["head"], alice.json("status")["head"])

    @unittest.skipIf(subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode, "no namespaces here")
    def test_one_cut_off_and_one_with_a_wiped_disk_do_not_stop_the_others(self):
        with harness.World() as world:
            alice, bob, carol, dave, erin = self.four(world)
            followers = [erin, world.join(erin, "frank"), world.join(bob, "grace")]

            # Cut off: dave's node runs in a network of its own; its socket is a file, so it can still be asked.
            dave.stop()
            dave.start(command=["unshare", "-rn", "sh", "-c", 'ip link set lo up; exec "$0" "$@"'], ready=False)
            harness.wait_until(lambda: self.answers(dave), what="dave's node")
            world.join(followers[1], "heidi", start=False)
            status = dave.json("witness", "status")
            self.assertEqual((status["in_reach"], status["needed"]), (1, 3))
            with self.assertRaises(harness.Failed) as refused:
                dave.diot("ledger", "anchor", world.found("zoe").diot("ledger", "anchor").strip())
            self.assertIn("3 of 4 witnesses are needed, 1 is in reach", refused.exception.err)
            dave.stop()
            dave.start()

            # A wiped disk: carol's node has its keys, and no memory of its votes.
            carol.stop()
            for file in os.listdir(carol.home):
                if file.startswith("diot.db"):
                    os.unlink(os.path.join(carol.home, file))
            with self.assertRaises(harness.Failed) as refused:
                carol.diot("run")
            self.assertIn("diot join", refused.exception.err)
            os.unlink(os.path.join(carol.home, "genesis"))
            carol.diot("join", bob.diot("invite").strip(), "--handle", "carol", *carol.addresses())
            carol.start()
            harness.wait_until(lambda: carol.json("status")["height"] == bob.json("status")["height"], what="carol's blocks")
            self.assertIn("does not vote", carol.json("witness", "status")["warnings"][0])
            world.join(followers[2], "ivan", start=False)
            bob.kill()  # alice and dave are two, and carol does not vote
            harness.wait_until(lambda: alice.json("witness", "status")["in_reach"] <= 3, what="bob to be missed")
            with self.assertRaises(harness.Failed) as asked:
                carol.diot("witness", "resume", "--from-height", str(carol.json("status")["height"] + 1))
            self.assertIn("--yes", asked.exception.err)
            carol.diot("witness", "resume", "--from-height", str(carol.json("status")["height"] + 1), "--yes")
            world.join(followers[0], "judy", start=False)
            for home in (alice, carol, dave, *followers):
                harness.wait_until(lambda: home.json("status")["head"] == alice.json("status")["head"], what="one head")

    @staticmethod
    def answers(home):
        try:
            return home.json("status")
        except harness.Failed:
            return None

    @staticmethod
    def without_registrar(world):
        """A registrar, which is dead by now, the words of its founder, and four homes that have all its blocks."""
        alice, words = world.found_with_words("alice")
        alice.start()
        others = [world.join(alice, name) for name in ("bob", "carol", "dave", "erin")]
        height = alice.json("status")["height"]
        for home in others:
            harness.wait_until(lambda: home.json("status")["height"] == height, what="one height")
        alice.kill()
        return alice, words, others

    def test_the_founder_replaces_witnesses_that_are_gone(self):
        with harness.World() as world:
            alice, words, others = self.without_registrar(world)
            bob, carol = others[:2]
            with self.assertRaises(harness.Failed) as refused:
                bob.diot("witness", "succeed", "bob,carol,dave,erin", input=world.found_with_words("eve")[1])
            self.assertIn("not the words", refused.exception.err)
            with self.assertRaises(harness.Failed) as refused:
                bob.diot("witness", "succeed", "bob,carol", input=words)
            self.assertIn("--accept-fragile", refused.exception.err)
            made = json.loads(bob.diot("witness", "succeed", "bob,carol,dave,erin", "--json", input=words))
            self.assertEqual(made["possible_from_ms"] - made["last_block_ms"], 72 * 3_600_000)
            entry = made["entry"]
            with self.assertRaises(harness.Failed) as refused:
                bob.diot("witness", "change", entry)
            self.assertIn("signature", refused.exception.err)
            for home in others:
                entry = home.diot("witness", "accept", entry, "--yes").strip()
            taken = carol.json("witness", "change", entry)
            self.assertEqual(taken["kind"], "succession")
            for home in others:
                harness.wait_until(lambda: home.json("witness", "status").get("successions"), what="the succession")
                pending = home.json("witness", "status")["successions"][0]
                self.assertEqual((pending["possible_from_ms"], pending["votes"], pending["needed"]),
                                 (made["possible_from_ms"], 0, 3))
                self.assertTrue([text for text in home.json("status")["warnings"] if "succession key" in text])

            # It survives a restart, and ends when the registrar turns out to live.
            carol.stop()
            carol.start()
            self.assertTrue(carol.json("witness", "status")["successions"])
            alice.start()
            world.join(alice, "frank", start=False)
            for home in others:
                harness.wait_until(lambda: "successions" not in home.json("witness", "status"), what="the end of it")
            self.assertEqual([row["handle"] for row in carol.json("witness", "list")["witnesses"]], ["alice"])

    @unittest.skipIf(harness.holds_freed_memory(), "a sanitizer wants to be the first library")
    def test_the_new_witnesses_decide_72_hours_after_the_last_block(self):
        [fake_time] = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")

        def start(home, hours):
            home.stop()
            home.start(command=["env", f"LD_PRELOAD={fake_time}", "FAKETIME_DONT_FAKE_MONOTONIC=1", f"FAKETIME=+{hours}h"])

        with harness.World() as world:
            alice, words, others = self.without_registrar(world)
            bob, carol = others[:2]
            last = bob.json("status")["height"]
            entry = bob.diot("witness", "succeed", "bob,carol,dave,erin", input=words).strip()
            for home in others:
                entry = home.diot("witness", "accept", entry, "--yes").strip()
            self.assertEqual(carol.json("witness", "change", entry)["kind"], "succession")

            for home in others:
                start(home, 71)
            harness.wait_until(lambda: all(home.json("witness", "status").get("successions") for home in others),
                               what="the succession at all")
            self.assertEqual({home.json("status")["height"] for home in others}, {last})
            for home in others:
                start(home, 73)
            for home in others:
                harness.wait_until(lambda: home.json("status")["height"] > last, what="the block of the succession")
                self.assertEqual({row["handle"] for row in home.json("witness", "list")["witnesses"]},
                                 {"bob", "carol", "dave", "erin"})
            for home in others:
                harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 4, what="all four in reach")
            # They decide without alice, and with one of them away; she hears it when she is back, before she decides a block.
            others[3].kill()
            anchor = world.found("zoe").diot("ledger", "anchor").strip()
            bob.diot("ledger", "anchor", anchor)
            start(alice, 73)
            harness.wait_until(lambda: alice.json("status")["head"] == bob.json("status")["head"], what="alice's head")

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

    def test_the_registrar_is_who_decides_now(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob")
            for home in (alice, bob):
                self.assertEqual(home.json("status")["registrar"], "@alice (trusted)")
                self.assertIn("registrar  ", home.diot("status"))
            network = alice.json("status")["network"]

            entry = alice.diot("witness", "invite", "bob", "--accept-fragile").strip()
            alice.diot("witness", "change", bob.diot("witness", "accept", entry, "--yes").strip())
            world.join(alice, "carol", start=False)
            for home in (alice, bob):
                harness.wait_until(lambda: home.json("status")["registrar"] is None, what="two witnesses")
                self.assertIn("none of them may fail", home.json("status")["witnesses"])
                harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 2, what="both in reach")

            entry = bob.diot("witness", "invite", "--remove", "alice", "--accept-fragile").strip()
            bob.diot("witness", "change", alice.diot("witness", "accept", entry, "--yes").strip())
            world.join(alice, "dave", start=False)
            for home in (alice, bob):
                harness.wait_until(lambda: home.json("status")["registrar"] == "@bob (trusted)", what="bob alone")
            # Who is a witness no more signs no checkpoints, and who is one does, with its node and without.
            for home in (alice, bob):
                home.stop()
            self.assertIn(network, bob.json("ledger", "checkpoint")["note"])
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("ledger", "checkpoint")
            self.assertIn("only a witness", refused.exception.err)

            # Named by its handle the founder votes with its node key, and says that the other one is in the way.
            alice.start()
            bob.start()
            entry = bob.diot("witness", "invite", "alice", "--accept-fragile").strip()
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("witness", "accept", entry, "--yes")
            self.assertIn("witness.key", refused.exception.err)
            alice.stop()
            os.rename(os.path.join(alice.home, "witness.key"), os.path.join(world.folder, "witness.key"))
            alice.start()
            bob.diot("witness", "change", alice.diot("witness", "accept", entry, "--yes").strip())
            world.join(bob, "erin", start=False)
            harness.wait_until(lambda: bob.json("witness", "status")["in_reach"] == 2, what="both in reach again")
            world.join(bob, "frank", start=False)

    def test_new_rules_stop_the_ledger_of_who_does_not_know_them_and_no_message(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob")
            homes = (alice, bob)

            def refused(home, *arguments):
                with self.assertRaises(harness.Failed) as caught:
                    home.diot(*arguments)
                return caught.exception

            def upgrade(version, height, *more):
                return ["witness", "upgrade", "--rules", str(version), "--from-height", str(height), *more]

            def warnings(home):
                return " ".join(home.json("status")["warnings"])

            height = alice.json("status")["height"]
            self.assertIn("not a witness", refused(bob, *upgrade(2, 9)).err)
            self.assertIn(f"block {height + 3} at the earliest", refused(alice, *upgrade(2, height + 2)).err)
            self.assertIn("version 1 already", refused(alice, *upgrade(1, 9)).err)
            asked = refused(alice, *upgrade(2, height + 3))
            self.assertEqual(asked.code, 4)
            self.assertIn("--yes", asked.err)
            self.assertIn("knows version 1", asked.err)

            # A plan is announced everywhere, and can be taken back.
            planned = alice.json(*upgrade(2, height + 99, "--yes"))
            self.assertEqual((planned["rules_version"], planned["next_rules_version"], planned["next_rules_from_height"]),
                             (1, 2, height + 99))
            self.assertIn("planned already", refused(alice, *upgrade(2, height + 99, "--yes")).err)
            for home in homes:
                harness.wait_until(lambda: f"from block {height + 99} on" in warnings(home), what="the warning")
            self.assertNotIn("next_rules_version", alice.json(*upgrade(1, height + 99)))
            for home in homes:
                harness.wait_until(lambda: "rules version" not in warnings(home), what="the end of the plan")

            # Not taken back: block by block until there, then no registration more.
            last = alice.json("status")["height"] + 2
            alice.json(*upgrade(2, last + 1, "--yes"))
            world.join(bob, "carol", start=False)
            for through in homes:
                with self.assertRaises(harness.Failed) as stopped:
                    world.join(through, "dave", start=False)
                self.assertIn("install a newer one", stopped.exception.err)
            self.assertIn("install a newer one", refused(alice, *upgrade(1, last + 9)).err)
            bob.stop()
            bob.start()
            for home in homes:
                self.assertEqual(home.json("status")["height"], last)
                self.assertIn(f"from block {last + 1} on this network goes by rules version 2", warnings(home))
                self.assertIn("install a newer one", warnings(home))
                self.assertEqual(home.json("ledger", "verify")["height"], last)
            # Messages do not care.
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            reader = world.subscribe(bob, "@alice/sensors/#")
            bob.wait_topic("@alice/sensors/#")
            alice.publish("sensors/temp", "21.5")
            reader.wait_for("@alice/sensors/temp 21.5")

    def test_a_witness_whose_gateway_was_revoked_is_taken_out_by_its_key(self):
        with harness.World() as world:
            alice, bob, carol, dave, erin = self.four(world)
            [daves] = [row for row in alice.json("witness", "list")["witnesses"] if row["handle"] == "dave"]
            # Its own gateway revokes it, so nobody is left to tell it that it is done.
            asking = subprocess.Popen([harness.DIOT, "handle", "revoke-node", daves["node"], "--yes"],
                                      env=dave.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            world.cleanup.callback(asking.wait)
            world.cleanup.callback(asking.kill)
            for home in (alice, bob, carol):
                harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 3, what="dave's votes to be missed")
            # Three of four still decide, and put another one in its place.
            entry = alice.diot("witness", "invite", "erin", "--remove", daves["key"]).strip()
            for home in (bob, carol, erin):
                entry = home.diot("witness", "accept", entry, "--yes").strip()
            carol.diot("witness", "change", entry)
            world.join(bob, "frank", start=False)
            for home in (alice, bob, carol, erin):
                harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 4, what="all four in reach")
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("witness", "invite", "frank", "--remove", daves["key"])
            self.assertIn("or has that key", refused.exception.err)

    def test_several_witnesses_sign_an_upgrade(self):
        with harness.World() as world:
            alice, bob, carol, *_ = self.four(world)
            height = alice.json("status")["height"] + 50
            made = alice.json("witness", "upgrade", "--rules", "2", "--from-height", str(height), "--yes")
            self.assertEqual((made["signatures"], made["needed"]), (1, 3))
            entry = made["entry"]
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("witness", "change", entry)
            self.assertIn("1 of 4 witnesses have signed", refused.exception.err)
            with self.assertRaises(harness.Failed) as asked:
                bob.diot("witness", "accept", entry)
            self.assertIn(f"rules version 2 for the ledger from block {height} on", asked.exception.err)
            for home in (bob, carol):
                entry = home.diot("witness", "accept", entry, "--yes").strip()
            self.assertEqual(carol.json("witness", "change", entry)["kind"], "upgrade")
            harness.wait_until(lambda: alice.json("witness", "list").get("next_rules_version") == 2, what="the plan")


if __name__ == "__main__":
    unittest.main()
