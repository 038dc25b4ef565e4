"""A gateway whose clock is wrong: what it holds grows older by the time it is held, whatever the clock is set to."""

import contextlib
import glob
import os
import sqlite3
import time
import unittest

import harness

WEEKS_H = 480


@unittest.skipIf(harness.holds_freed_memory(), "a sanitizer wants to be the first library")
class Clocks(unittest.TestCase):
    def setUp(self):
        [self.fake_time] = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")

    def start(self, world, home, hours):
        """With a clock that is so wrong; `set_clock` changes it while the home runs."""
        self.clock_file = os.path.join(world.folder, "clock")
        self.set_clock(hours)
        home.start(command=["env", f"LD_PRELOAD={self.fake_time}", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1",
                            f"FAKETIME_TIMESTAMP_FILE={self.clock_file}"])

    def set_clock(self, hours):
        with open(self.clock_file + ".new", "w") as out:
            out.write(f"{hours:+}h")
        os.rename(self.clock_file + ".new", self.clock_file)

    def kept_time(self, home):
        """The wall clock in the home's row of it, in hours from now."""
        with contextlib.closing(sqlite3.connect(f"file:{home.home}/diot.db?mode=ro", uri=True)) as store:
            row = store.execute("SELECT value FROM meta WHERE key = ?", (b"time",)).fetchone()
        return (int.from_bytes(row[0][:8], "big") / 1000 - time.time()) / 3600 if row else None

    def test_what_is_held_for_minutes_does_not_expire_when_the_clock_learns_the_date(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.stop()
            self.start(world, alice, 0)
            keeper = ["mosquitto_sub", "-p", str(alice.mqtt_port), "-V", "5", "-i", "keeper", "-c", "-q", "1", "-t",
                      "work/#", "-x", "3600"]
            harness.run(*keeper, "-E")
            for_an_hour = ["-V", "5", "-q", "1", "-D", "publish", "message-expiry-interval", "3600"]
            alice.publish("work/n", "an hour", *for_an_hour)
            alice.publish("work/kept", "an hour", "-r", *for_an_hour)
            self.set_clock(WEEKS_H)
            harness.wait_until(lambda: (self.kept_time(alice) or 0) > WEEKS_H - 1, what="the step to be noted")
            # From memory, from disk, and after a crash.
            got = lambda *of: harness.run("mosquitto_sub", "-p", str(alice.mqtt_port), "-C", "1", *of).strip()
            self.assertEqual(got("-t", "work/kept"), "an hour")
            alice.kill()
            self.start(world, alice, WEEKS_H)
            self.assertEqual(got("-t", "work/kept"), "an hour")
            alice.publish("work/n", "later", "-q", "1")
            self.assertEqual(harness.run(*keeper, "-C", "3", "-F", "%t %p").strip().split("\n"),
                             ["work/n an hour", "work/kept an hour", "work/n later"])


if __name__ == "__main__":
    unittest.main()
