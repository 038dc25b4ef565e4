"""A home has one life: what a person sees when its folder was copied, restored, lost or damaged (DESIGN: "A home has one life")."""

import contextlib
import ctypes
import os
import shutil
import sqlite3
import unittest

import harness


def copy_of(world, node, name):
    """Another folder with the same node in it, on ports of its own."""
    copy = world.node(name)
    shutil.copytree(node.home, copy.home, ignore=shutil.ignore_patterns("*.sock"))
    config = os.path.join(copy.home, "diot.toml")
    with open(config) as file:
        text = file.read()
    for old, new in ((node.mqtt_port, copy.mqtt_port), (node.api_port, copy.api_port),
                     (node.overlay_port, copy.overlay_port)):
        text = text.replace(f":{old}", f":{new}")
    with open(config, "w") as file:
        file.write(text)
    return copy


def warnings(node):
    return "\n".join(node.json("status")["warnings"])


def note_fork(node, handle):
    """In a stopped home's store: the proof that the writer of the log there signed two different things as one."""
    # The checksum of a row in the table meta: core/sqlite_writer.cpp.
    sip_hash = ctypes.CDLL("libsodium.so.23").crypto_shorthash

    def hashed(data, key):
        out = ctypes.create_string_buffer(8)
        sip_hash(out, data, ctypes.c_ulonglong(len(data)), key)
        return out.raw

    with contextlib.closing(sqlite3.connect(f"{node.home}/diot.db")) as store:
        log_key, row = store.execute("SELECT key, value FROM log").fetchone()
        header = row[8:8 + 276]  # behind when it was signed
        key, value = b"fork/" + log_key[:64], 2 * header + handle.encode()
        checksum = hashed(value, hashed(key, b"diot row" + bytes(8)) + bytes(8))
        store.execute("INSERT INTO meta(key, value, checksum) VALUES(?, ?, ?)",
                      (key, value, int.from_bytes(checksum, "big", signed=True)))
        store.commit()


class Copies(unittest.TestCase):
    def share(self, world):
        alice = world.found("alice")
        bob = world.join(alice, "bob")
        alice.diot("share", "add", "pub/#")
        reader = world.subscribe(bob, "@alice/pub/#", "-q", "1", "-c", "-i", "reader")
        bob.wait_topic("@alice/pub/#")
        return alice, bob, reader

    def test_a_folder_that_runs_twice_is_stopped_with_what_mends_it(self):
        with harness.World() as world:
            alice, bob, reader = self.share(world)
            alice.publish("pub/a", "before", "-q", "1")
            reader.wait_for("@alice/pub/a before")
            alice.stop()
            twin = copy_of(world, alice, "alices-copy")
            alice.start()
            twin.start()
            for node in (alice, twin):
                harness.wait_until(lambda: node.json("status")["copied"], what=f"{node.name} knows that it was copied")
                text = warnings(node)
                self.assertIn("this node's key runs twice", text)
                self.assertIn("@bob sees another process of it at 127.0.0.1", text)
                self.assertIn(f"DIOT_HOME={node.home} diot run", text)
                self.assertIn("nothing is published to other homes any more", node.log())
            harness.wait_until(lambda: "runs twice" in warnings(bob), what="bob's status says so too")

            # At home all goes on; nothing leaves.
            at_home = world.subscribe(alice, "pub/#", "-q", "1")
            harness.wait_until(lambda: alice.json("status")["clients"] == 1)
            alice.publish("pub/a", "meanwhile", "-q", "1")
            at_home.wait_for("pub/a meanwhile")
            self.assertNotIn("@alice/pub/a meanwhile", reader.lines)

            # The command that was told mends it, and nothing that was acknowledged is lost.
            twin.stop()
            shutil.rmtree(twin.home)
            alice.stop()
            alice.start()
            reader.wait_for("@alice/pub/a meanwhile")
            alice.publish("pub/a", "after", "-q", "1")
            reader.wait_for("@alice/pub/a after")
            self.assertEqual([line for line in reader.lines if line.endswith("meanwhile")],
                             ["@alice/pub/a meanwhile"])
            self.assertIsNone(alice.json("status")["copied"])
            self.assertNotIn("runs twice", warnings(alice))

    def test_a_restored_backup_gets_its_records_back(self):
        with harness.World() as world:
            alice, bob, reader = self.share(world)
            alice.publish("pub/a", "1", "-q", "1", "-r")
            alice.stop()
            backup = os.path.join(world.folder, "backup")
            shutil.copytree(alice.home, backup)
            alice.start()
            bob.wait_topic("@alice/pub/#")
            alice.publish("pub/a", "2", "-q", "1", "-r")
            reader.wait_for("@alice/pub/a 2")
            alice.stop()
            shutil.rmtree(alice.home)
            shutil.copytree(backup, alice.home)
            alice.start()
            bob.wait_topic("@alice/pub/#")
            back = lambda: alice.json("status")["events"].get("own records fetched back", 0)
            harness.wait_until(lambda: back() >= 1, what="what the backup lacks is fetched back from bob")
            self.assertEqual(harness.run("mosquitto_sub", "-p", str(alice.mqtt_port), "-t", "pub/a", "-C", "1").strip(),
                             "2")
            alice.publish("pub/a", "3", "-q", "1")
            reader.wait_for("@alice/pub/a 3")
            self.assertIsNone(alice.json("status")["copied"])

    def test_a_log_that_was_written_twice_is_named_with_its_writer_after_a_restart(self):
        with harness.World() as world:
            alice, bob, reader = self.share(world)
            alice.publish("pub/a", "1", "-q", "1")
            reader.wait_for("@alice/pub/a 1")
            bob.stop()
            note_fork(bob, "alice")
            alice_is = alice.json("status")["node"]
            bob.start()
            self.assertIn(f"a node of @alice ({alice_is}) has signed two different things as one", warnings(bob))

    def lose_database(self, node, what="diot.db"):
        for name in os.listdir(node.home):
            if name.startswith(what):
                os.remove(os.path.join(node.home, name))

    def refusal(self, node):
        """What `diot run` says when it does not start."""
        with self.assertRaises(harness.Failed) as refused:
            node.diot("run", timeout_s=20)
        self.assertEqual(refused.exception.code, 1)
        return refused.exception.err

    def mend(self, node, inviter, refusal):
        """Does what the refusal says."""
        self.assertIn(f"Restore {node.home} from a backup", refusal)
        self.assertIn(f"`diot join INVITE --handle {node.name}`", refusal)
        self.lose_database(node)
        os.remove(os.path.join(node.home, "genesis"))
        node.diot("join", inviter.diot("invite").strip(), "--handle", node.name, *node.addresses())
        node.start()

    def test_a_lost_database_is_named_with_what_to_do(self):
        with harness.World() as world:
            alice, bob, _ = self.share(world)
            bob.stop()
            self.lose_database(bob)
            refusal = self.refusal(bob)
            self.assertIn("diot.db holds no ledger: the database was lost", refusal)
            before = alice.json("ledger", "show", "bob")
            self.mend(bob, alice, refusal)
            self.assertEqual(alice.json("ledger", "show", "bob"), before)  # the same node with the same keys

            # The registrar must not begin its ledger again: others have the first one.
            alice.stop()
            self.lose_database(alice)
            refusal = self.refusal(alice)
            self.assertIn("diot.db holds no ledger", refusal)
            self.mend(alice, bob, refusal)
            self.assertEqual(alice.json("status")["head"], bob.json("status")["head"])
            carol = world.join(alice, "carol")
            harness.wait_until(lambda: bob.json("status")["height"] == carol.json("status")["height"])

    def test_a_damaged_database_is_named_with_what_to_do(self):
        with harness.World() as world:
            alice, bob, _ = self.share(world)
            bob.stop()
            path = os.path.join(bob.home, "diot.db")
            size = os.path.getsize(path)
            with open(path, "r+b") as store:
                store.seek(size // 3)
                store.write(bytes(size // 3))
            refusal = self.refusal(bob)
            self.assertIn("diot.db", refusal)
            self.mend(bob, alice, refusal)
            self.assertIn("bob", bob.json("status")["handle"])


if __name__ == "__main__":
    unittest.main()
