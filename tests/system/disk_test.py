"""What the disk returns is checked: one flipped bit in the stored ledger is found and named, and no node runs on it."""

import contextlib
import sqlite3
import unittest

import harness


def flip_a_bit(node, at):
    """In block 1 of a stopped home's ledger, behind the program's back."""
    with contextlib.closing(sqlite3.connect(f"{node.home}/diot.db")) as store:
        row, value = store.execute("SELECT id, value FROM block ORDER BY key LIMIT 1").fetchone()
        value = bytearray(value)
        value[at % len(value)] ^= 1
        store.execute("UPDATE block SET value = ? WHERE id = ?", (bytes(value), row))
        store.commit()


class Disk(unittest.TestCase):
    def test_a_flipped_bit_in_the_ledger_is_found(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.stop()
            self.assertEqual(alice.json("ledger", "verify")["blocks"], 1)
            for at in (0, 100, -1):
                flip_a_bit(alice, at)
                with self.assertRaises(harness.Failed) as found:
                    alice.diot("ledger", "verify")
                self.assertEqual(found.exception.code, 1)
                self.assertRegex(found.exception.err, "block|ledger")
                with self.assertRaises(harness.Failed) as refused:  # at once, not after a while
                    alice.diot("run", timeout_s=20)
                self.assertEqual(refused.exception.code, 1)
                flip_a_bit(alice, at)
                self.assertEqual(alice.json("ledger", "verify")["blocks"], 1)
            alice.start()

    def test_a_store_that_is_no_database_is_named(self):
        with harness.World() as world:
            alice = world.found("alice", start=False)
            with open(f"{alice.home}/diot.db", "r+b") as store:
                store.write(b"garbage instead of SQLite's header")
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("run", timeout_s=20)
            self.assertEqual(refused.exception.code, 1)
            self.assertIn("diot.db", refused.exception.err)


if __name__ == "__main__":
    unittest.main()
