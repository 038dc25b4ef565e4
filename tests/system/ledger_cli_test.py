"""The ledger from the command line: proofs that need neither node nor network, exports that other programs read."""

import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import subprocess
import tempfile
import unittest

import harness

sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def log_root(leaves):
    """RFC 6962 section 2.1, word by word."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha(b"\1", log_root(leaves[:half]), log_root(leaves[half:]))


def signed_by(note, verifier_key):
    """Opens a note as c2sp.org/signed-note and tlog-cosignature say; its text."""
    name, key_id, key = verifier_key.split("+", 2)
    key = base64.b64decode(key)
    text, signatures = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :].splitlines()
    assert sha(name.encode() + b"\n" + key)[:4].hex() == key_id
    for line in signatures:
        dash, by, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash != "\u2014" or by != name or signature[:4].hex() != key_id:
            continue
        message, signature = text.encode(), signature[4:]
        if key[0] == 4:
            seconds, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {seconds}\n".encode() + message
        assert len(signature) == 64
        assert sodium.crypto_sign_verify_detached(signature, message, ctypes.c_ulonglong(len(message)), key[1:]) == 0
        return text
    raise AssertionError(f"{name} has not signed it")


def flip_a_bit(path, from_end):
    with open(path, "r+b") as file:
        file.seek(from_end, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


class LedgerCliTest(unittest.TestCase):
    def prove(self, node, *what):
        proof = os.path.join(self.folder, what[0].strip("-") + ".proof")
        done = subprocess.run([harness.DIOT, "ledger", "prove", *what], env=node.environment(),
                              capture_output=True, timeout=harness.TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(proof, "wb") as file:
            file.write(done.stdout)
        return proof

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="diot-ledger.")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def test_a_proof_is_checked_where_there_is_no_home_and_no_node(self):
        with harness.World() as world:
            alice = world.found("alice")
            pinned = alice.json("ledger", "tail")["blocks"][-1]
            bob = world.join(alice, "bob", start=False)
            network = alice.json("status")["network"]
            stranger = world.node("nobody")  # has no home
            check = ["ledger", "check-proof", self.prove(alice, "bob"), "--genesis", network]
            shown = stranger.json(*check)
            self.assertTrue(shown["registered"])
            record = alice.json("ledger", "show", "bob")
            for member in ("handle", "owner", "nodes", "version", "register_entry"):
                self.assertEqual(shown[member], record[member])
            self.assertIn("map root", stranger.diot(*check, "--tree"))

            absent = stranger.json("ledger", "check-proof", self.prove(alice, "carol"), "--genesis", network)
            self.assertFalse(absent["registered"])
            self.assertNotIn("owner", absent)

            from_block = self.prove(alice, "bob", "--pin", str(pinned["height"]))
            with self.assertRaises(harness.Failed) as refused:
                stranger.diot("ledger", "check-proof", from_block, "--genesis", network)
            self.assertIn("--pin", refused.exception.err)
            trusted = f"{pinned['height']}:{pinned['hash']}"
            shown = stranger.json("ledger", "check-proof", from_block, "--genesis", network, "--pin", trusted)
            self.assertEqual(shown["handle"], "bob")

            # Bob's own files say the same, without his node.
            self.assertEqual(bob.json("ledger", "prove", "bob")["registered"], True)

            proof = self.prove(alice, "bob")
            flip_a_bit(proof, -40)
            with self.assertRaises(harness.Failed) as refused:
                stranger.diot("ledger", "check-proof", proof, "--genesis", network)
            self.assertIn("bob.proof", refused.exception.err)
            with self.assertRaises(harness.Failed):
                stranger.diot("ledger", "check-proof", self.prove(alice, "bob"), "--genesis", "00" * 32)

    def test_entries_and_the_growth_of_the_log_are_proven_likewise(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob", start=False)
            noted = alice.json("ledger", "tail")["blocks"][-1]
            world.join(alice, "carol", start=False)
            stranger = world.node("nobody")  # has no home
            network = alice.json("status")["network"]

            def check(proof, *options):
                return stranger.json("ledger", "check-proof", proof, "--genesis", network, *options)

            entry = alice.json("ledger", "history", "bob")["entries"][0]
            by_hash = check(self.prove(alice, "--entry", entry["hash"]))
            self.assertEqual((by_hash["proves"], by_hash["kind"], by_hash["handle"]), ("entry", "register", "bob"))
            self.assertEqual((by_hash["hash"], by_hash["index"]), (entry["hash"], 1))
            self.assertEqual((by_hash["as_of_height"], by_hash["as_of_block"]), (noted["height"], noted["hash"]))
            self.assertEqual(check(self.prove(alice, "--entry", "1")), by_hash)
            # Bob's files have it, too, without his node.
            self.assertEqual(check(self.prove(bob, "--entry", "1")), by_hash)
            for number in ("0", "2"):
                self.assertEqual(check(self.prove(alice, "--entry", number), "--tree")["index"], int(number))

            grown = check(self.prove(alice, "--consistency", str(noted["height"])), "--tree")
            self.assertEqual((grown["proves"], grown["from_height"], grown["from_block"], grown["from_entries"]),
                             ("consistency", noted["height"], noted["hash"], 2))
            self.assertEqual((grown["as_of_height"], grown["log_entries"]), (3, 3))
            self.assertIn("in both", grown["tree"])
            first = alice.json("ledger", "tail", "--to", "1")["blocks"][0]
            pinned = self.prove(alice, "--consistency", "2", "--pin", "1")
            self.assertEqual(check(pinned, "--pin", f"1:{first['hash']}")["from_height"], 2)

            for wrong, why in ((["bob", "--entry", "1"], "say one of them"), ([], "say one of them"),
                               (["--entry", "3"], "numbered from 0 to 2"), (["--entry", "bob"], "neither"),
                               (["--entry", "00" * 32], "no such entry"), (["--consistency", "3"], "newest one"),
                               (["--consistency", "1", "--pin", "1"], "--pin an older one"),
                               (["--entry", "0", "--pin", "1"], "--pin is for a block before")):
                with self.assertRaises(harness.Failed) as refused:
                    alice.json("ledger", "prove", *wrong)
                self.assertIn(why, refused.exception.err)
            proof = self.prove(alice, "--consistency", "1")
            flip_a_bit(proof, -1)
            with self.assertRaises(harness.Failed) as refused:
                check(proof)
            self.assertIn("does not show that the log of block 3 begins with that of block 1", refused.exception.err)

    def test_the_log_is_exported_as_public_logs_are(self):
        with harness.World() as world:
            alice = world.found("alice")
            world.join(alice, "bob", start=False)
            world.join(alice, "carol", start=False)
            tiles = os.path.join(self.folder, "tiles")
            exported = alice.json("ledger", "export", "--tiles", tiles)
            self.assertEqual(exported["entries"], 3)

            def read(*path):
                with open(os.path.join(tiles, *path), "rb") as file:
                    return file.read()

            bundle, leaves = read("tile", "entries", "000.p", "3"), []
            while bundle:
                size = int.from_bytes(bundle[:2], "big")
                leaves.append(sha(b"\0", bundle[2 : 2 + size]))
                bundle = bundle[2 + size :]
            self.assertEqual(read("tile", "0", "000.p", "3"), b"".join(leaves))
            note = read("checkpoint").decode()
            network = alice.json("status")["network"]
            expected = f"diot/{network}\n3\n{base64.b64encode(log_root(leaves)).decode()}\n"
            self.assertEqual(signed_by(note, exported["log_key"]), expected)
            self.assertEqual(signed_by(note, exported["cosigner_key"]), expected)
            with self.assertRaises(AssertionError):
                signed_by(note.replace("\n3\n", "\n4\n"), exported["log_key"])

    def test_exports_of_two_nodes_are_compared(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob", start=False)
            lines = bob.diot("ledger", "export").splitlines()
            self.assertEqual([json.loads(line)["height"] for line in lines], [1, 2])
            world.join(alice, "carol", start=False)
            export = os.path.join(self.folder, "bob.jsonl")
            with open(export, "w") as file:
                file.write("\n".join(lines) + "\n")
            same = alice.json("ledger", "diff", export)
            self.assertEqual((same["agree"], same["same_to"], same["here"], same["there"]), (True, 2, 3, 2))
            stranger = world.found("mallory", start=False)
            with self.assertRaises(harness.Failed) as refused:
                stranger.diot("ledger", "diff", export)
            self.assertIn("another network", refused.exception.err)
            with open(export, "a") as file:
                file.write("{}\n")
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("ledger", "diff", export)
            self.assertIn("line 3", refused.exception.err)

    def test_entries_are_found_by_handle_kind_height_and_time(self):
        with harness.World() as world:
            alice = world.found("alice")
            world.join(alice, "bob", start=False)
            world.join(alice, "carol", start=False)

            def heights(*options):
                return [block["height"] for block in alice.json("ledger", "tail", *options)["blocks"]]

            self.assertEqual(heights(), [1, 2, 3])
            self.assertEqual(heights("--count", "2"), [2, 3])
            self.assertEqual(heights("--handle", "bob"), [2])
            self.assertEqual(heights("--kind", "renew"), [])
            self.assertEqual(heights("--from", "2", "--to", "2"), [2])
            self.assertEqual(heights("--since", "1h"), [1, 2, 3])
            self.assertEqual(heights("--until", "2020-01-01"), [])
            self.assertEqual(heights("--handle", "alice", "--count", "1"), [1])
            self.assertEqual(len(alice.json("ledger", "history", "bob", "--kind", "register")["entries"]), 1)
            self.assertEqual(len(alice.diot("ledger", "export", "--handle", "carol").splitlines()), 1)
            first = alice.json("ledger", "list", "--limit", "2")
            self.assertEqual([row["handle"] for row in first["handles"]], ["alice", "bob"])
            rest = alice.json("ledger", "list", "--after", first["more_after"])
            self.assertEqual([row["handle"] for row in rest["handles"]], ["carol"])
            self.assertNotIn("more_after", rest)
            self.assertEqual([row["handle"] for row in alice.json("ledger", "list", "--prefix", "b")["handles"]], ["bob"])
            stats = alice.json("ledger", "stats")
            self.assertEqual((stats["handles"], stats["entries"], stats["height"]), (3, 3, 3))


if __name__ == "__main__":
    unittest.main()
