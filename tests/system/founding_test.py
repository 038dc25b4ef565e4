"""Four people found a network together, on the command line, with no registrar at any time."""

import subprocess
import unittest

import harness


class FoundingTest(unittest.TestCase):
    def offers(self, world, names):
        homes, offers = [], []
        for name in names:
            home = world.node(name)
            done = subprocess.run([harness.DIOT, "genesis", "offer", "--handle", name, *home.addresses()],
                                  env=home.environment(), capture_output=True, text=True, check=True)
            self.assertIn("24", done.stderr)
            homes.append(home)
            offers.append(done.stdout.strip())
            self.assertEqual(home.diot("genesis", "offer", "--handle", name, *home.addresses()).strip(), offers[-1])
        return homes, offers

    def test_four_found_an_open_network_and_decide_together(self):
        with harness.World() as world:
            homes, offers = self.offers(world, ("alice", "bob", "carol", "dave"))
            alice, bob, carol, dave = homes
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("genesis", "draft", ",".join(offers[1:]), "--admission", "open")
            self.assertIn("--lease-days", refused.exception.err)
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("genesis", "draft", offers[1])
            self.assertIn("--accept-fragile", refused.exception.err)

            line = alice.diot("genesis", "draft", ",".join(offers[1:]), "--admission", "open", "--lease-days",
                              "90").strip()
            with self.assertRaises(harness.Failed) as asked:
                bob.diot("genesis", "sign", line)
            for part in ("@alice", "@dave", "open to everybody", "90 days", "--yes"):
                self.assertIn(part, asked.exception.err)
            with self.assertRaises(harness.Failed) as early:
                bob.diot("genesis", "start", line)
            self.assertIn("not complete", early.exception.err)
            for home in (bob, carol, dave):
                line = home.diot("genesis", "sign", line, "--yes").strip()
            # All have signed, dave has voted for block 1; three votes are needed.
            for home in (alice, bob):
                line = home.diot("genesis", "sign", line, "--yes").strip()
            stranger = world.node("eve")
            stranger.diot("genesis", "offer", "--handle", "eve", *stranger.addresses())
            with self.assertRaises(harness.Failed) as refused:
                stranger.diot("genesis", "sign", line, "--yes")
            self.assertIn("none of the founders", refused.exception.err)
            networks = {home.json("genesis", "start", line)["network"] for home in homes}
            self.assertEqual(len(networks), 1)

            for home in homes:
                home.start()
            for home in homes:
                harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 4, what="all four in reach")
            # They let somebody in together, also without one of them.
            dave.kill()
            erin = world.join(bob, "erin")
            self.assertEqual(erin.json("ledger", "show", "dave")["handle"], "dave")
            verified = erin.json("ledger", "verify")
            self.assertEqual((verified["height"], verified["handles"]), (2, 5))
            self.assertFalse(erin.json("witness", "list")["trusted"])

            # And put her in the place of who is gone.
            entry = alice.diot("witness", "invite", "erin", "--remove", "dave").strip()
            for home in (bob, carol, erin):
                entry = home.diot("witness", "accept", entry, "--yes").strip()
            alice.diot("witness", "change", entry)
            world.join(bob, "frank", start=False)
            harness.wait_until(lambda: {row["handle"] for row in bob.json("witness", "list")["witnesses"]} ==
                               {"alice", "bob", "carol", "erin"}, what="the new witnesses")

    def test_who_has_no_invite_works_for_the_registration_where_that_is_open_to_everybody(self):
        with harness.World() as world:
            homes, offers = self.offers(world, ("alice", "bob", "carol", "dave"))
            line = homes[0].diot("genesis", "draft", ",".join(offers[1:]), "--admission", "open", "--lease-days", "90",
                                 "--for-tests").strip()
            with self.assertRaises(harness.Failed) as asked:
                homes[1].diot("genesis", "sign", line)
            self.assertIn("for tests", asked.exception.err)
            for home in homes[1:] + homes[:2]:
                line = home.diot("genesis", "sign", line, "--yes").strip()
            for home in homes:
                home.diot("genesis", "start", line)
                home.start()
            for home in homes:
                harness.wait_until(lambda: home.json("witness", "status")["in_reach"] == 4, what="all four in reach")

            door = homes[0].json("invite", "--open")
            self.assertEqual((door["uses"], door["expires_ms"]), (None, None))
            with self.assertRaises(harness.Failed) as refused:
                homes[0].diot("invite", "--open", "--uses", "3")
            self.assertIn("--open", refused.exception.err)
            newcomers = [world.node(name) for name in ("erin", "frank")]
            for newcomer in newcomers:  # one line for all
                newcomer.diot("join", door["invite"], "--handle", newcomer.name, *newcomer.addresses())
                newcomer.start()
                self.assertEqual(newcomer.json("ledger", "show", newcomer.name)["handle"], newcomer.name)
            with self.assertRaises(harness.Failed) as taken:
                late = world.node("late")
                late.diot("join", door["invite"], "--handle", "erin", *late.addresses())
            self.assertIn("is taken", taken.exception.err)
            # They are homes like any other.
            newcomers[0].diot("share", "add", "#", "--preset", "public")
            reader = world.subscribe(newcomers[1], "@erin/#")
            newcomers[1].wait_topic("@erin/#")
            newcomers[0].publish("t", "hello")
            reader.wait_for("@erin/t hello")

    def test_nobody_works_for_what_is_by_invitation(self):
        with harness.World() as world:
            with self.assertRaises(harness.Failed) as refused:
                world.found("alice").diot("invite", "--open")
            self.assertIn("by invitation", refused.exception.err)

    def test_a_line_that_was_changed_on_its_way_is_refused(self):
        with harness.World() as world:
            homes, offers = self.offers(world, ("alice", "bob"))
            line = homes[0].diot("genesis", "draft", offers[1], "--accept-fragile").strip()
            middle = len(line) // 2
            changed = line[:middle] + ("A" if line[middle] != "A" else "B") + line[middle + 1:]
            for bad in (changed, line[:-5], "diot-genesis:", offers[0]):
                with self.assertRaises(harness.Failed):
                    homes[1].diot("genesis", "sign", bad, "--yes")


if __name__ == "__main__":
    unittest.main()
