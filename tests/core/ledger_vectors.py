"""Computes the worked examples of the ledger in docs/protocol.md, independently of the program that is tested against
them: writes each example of the page anew (python3-cryptography for Ed25519).

    tests/core/ledger_vectors.py docs/protocol.md
"""
import base64
import hashlib
import re
import sys
import textwrap

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ZERO = bytes(32)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def pack(value):
    """Canonical msgpack."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        if value < 128:
            return bytes([value])
        for tag, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
            if value < 1 << (8 * size):
                return bytes([tag]) + value.to_bytes(size, "big")
    if isinstance(value, str):
        text = value.encode()
        return (bytes([0xA0 | len(text)]) if len(text) < 32 else bytes([0xD9, len(text)])) + text
    if isinstance(value, bytes):
        size = len(value)
        return (bytes([0xC4, size]) if size < 256 else b"\xc5" + size.to_bytes(2, "big")) + value
    size = len(value)
    return (bytes([0x90 | size]) if size < 16 else b"\xdc" + size.to_bytes(2, "big")) + b"".join(map(pack, value))


class Key:
    def __init__(self, number):
        self.seed = number.to_bytes(32, "big")
        self.key = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.pub = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, kind, network, data):
        return self.key.sign(b"diot/" + kind.encode() + b"/v1" + network + data)


def entry(kind, recent, body, signers, network):
    unsigned = pack([1, 1, kind, recent[0], recent[1], body])
    signers = sorted(signers, key=lambda key: key.pub)
    return pack([unsigned, [[key.pub, key.sign("entry", network, unsigned)] for key in signers]])


def leaf(data):
    return sha(b"\0", data)


def log_root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha(b"\1", log_root(leaves[:half]), log_root(leaves[half:]))


def sparse_root(items, depth=0):
    if not items:
        return ZERO
    if len(items) == 1:
        return sha(b"\0", items[0][0], items[0][1])
    sides = ([], [])
    for item in items:
        sides[item[0][depth // 8] >> (7 - depth % 8) & 1].append(item)
    return sha(b"\1", sparse_root(sides[0], depth + 1), sparse_root(sides[1], depth + 1))


def record(of):
    fields = "handle entry owner next nodes persons profile version height registered lease".split()
    return pack([1] + [of[field] for field in fields])


def map_root(records):
    return sparse_root([(sha(each["handle"].encode()), sha(record(each))) for each in records])


examples = {}


def example(name, **values):
    lines = ["```vector " + name]
    for key, value in values.items():
        key = key.replace("_", " ")
        line = f"{key} = {value.hex() if isinstance(value, bytes) else value}"
        if len(line) <= 118:
            lines.append(line)
        else:
            lines.append(f"{key} =")
            lines.extend("  " + part for part in textwrap.wrap(line[len(key) + 3 :], 112))
    examples[name] = "\n".join(lines) + "\n```\n"


DAY = 86400000
START = 1790000000000
LEASE_DAYS = 90
witness, succession, token, person = Key(10), Key(9), Key(1000), Key(61)
alice_owner, alice_next, alice_node, alice_new_node = Key(100), Key(101), Key(102), Key(103)
bob_owner, bob_next, bob_node = Key(200), Key(201), Key(202)

# The genesis.
founding_body = ["alice", alice_owner.pub, sha(alice_next.pub), [[alice_node.pub, 1]], None, None]
founding = entry(1, (0, ZERO), founding_body, [alice_owner, alice_node], ZERO)
nonce = bytes([7] * 16)
unsigned = pack([1, 1, nonce, START, 1, [witness.pub], sha(succession.pub), 0, LEASE_DAYS, 3, [founding]])
genesis = pack([unsigned, [witness.sign("genesis", ZERO, unsigned)]])
network = sha(unsigned)
example(
    "genesis-1", witness_seed=witness.seed, succession_seed=succession.seed, alice_owner_seed=alice_owner.seed,
    alice_next_seed=alice_next.seed, alice_node_seed=alice_node.seed, nonce=nonce, time=START, rules_version=1,
    admission=0, lease_days=LEASE_DAYS, replication=3, founding_entry=founding, genesis=genesis, network=network,
)
witness_set = sha(witness.pub)


def block(height, time, previous, size, log, handles, entries):
    """Header, its hash, and the block with the sole witness' vote."""
    header = pack([1, 1, 1, network, height, time, previous, size, log, handles, witness_set, witness_set])
    vote = pack([2, height, 0, sha(header), time])
    votes = [[0, time, witness.sign("vote", network, vote)]]
    return header, sha(header), pack([header, entries, 0, votes])


# Block 1.
alice = dict(
    handle="alice", entry=leaf(founding), owner=alice_owner.pub, next=sha(alice_next.pub), nodes=[[alice_node.pub, 1]],
    persons=[], profile=ZERO, version=1, height=1, registered=START, lease=START + LEASE_DAYS * DAY,
)
log_1, map_1 = log_root([leaf(founding)]), map_root([alice])
header_1, hash_1, block_1 = block(1, START, sha(genesis), 1, log_1, map_1, [founding])
example(
    "block-1", time=START, entry_hash=leaf(founding), handle_record=record(alice), log_root=log_1, map_root=map_1,
    witness_set=witness_set, header=header_1, hash=hash_1, block=block_1,
)

# An invite, and what is done with it.
expiry = START + 7 * DAY
unsigned = pack([1, 1, network, "alice", token.pub, 1, expiry, 1, hash_1, alice_node.pub])
grant = pack([unsigned, alice_node.sign("grant", network, unsigned)])
addresses = ["192.0.2.1:42220", "[2001:db8::1]:42220"]
invite = [1, grant, token.seed, alice_node.pub, addresses]
invite = pack(invite + [sha(pack(invite))[:4]])
example(
    "invite-1", token_seed=token.seed, uses=1, expiry=expiry, checkpoint_height=1, grant=grant,
    addresses=" ".join(addresses), invite="diot:" + base64.urlsafe_b64encode(invite).decode().rstrip("="),
)

recent = (1, hash_1)
registration = ["bob", bob_owner.pub, sha(bob_next.pub), [[bob_node.pub, 1]]]
token_signature = token.sign("token", network, pack(registration))
registered = entry(1, recent, registration + [grant, token_signature], [bob_owner, bob_node], network)
example(
    "entry-register-1", bob_owner_seed=bob_owner.seed, bob_next_seed=bob_next.seed, bob_node_seed=bob_node.seed,
    token_signature=token_signature, entry=registered, hash=leaf(registered),
)
nodes = sorted([[alice_node.pub, 1], [alice_new_node.pub, 0]])
persons = [["mum", person.pub]]
profile = sha(b"profile")
updated = entry(2, recent, ["alice", 2, nodes, persons, profile], [alice_owner, alice_new_node], network)
example(
    "entry-update-1", new_node_seed=alice_new_node.seed, person_seed=person.seed, profile_hash=profile, entry=updated,
    hash=leaf(updated),
)
renewed = entry(4, recent, ["bob", 2], [bob_node], network)
example("entry-renew-1", entry=renewed, hash=leaf(renewed))

# Block 2.
time_2 = START + DAY
bob = dict(
    handle="bob", entry=leaf(registered), owner=bob_owner.pub, next=sha(bob_next.pub), nodes=[[bob_node.pub, 1]],
    persons=[], profile=ZERO, version=2, height=2, registered=time_2, lease=time_2 + LEASE_DAYS * DAY,
)
alice = dict(alice, nodes=nodes, persons=persons, profile=profile, version=2)
entries = [registered, updated, renewed]
log_2, map_2 = log_root([leaf(each) for each in [founding] + entries]), map_root([alice, bob])
header_2, hash_2, block_2 = block(2, time_2, hash_1, 4, log_2, map_2, entries)
example("block-2", time=time_2, log_root=log_2, map_root=map_2, header=header_2, hash=hash_2, block=block_2)

page = open(sys.argv[1]).read()
for name, text in examples.items():
    page, times = re.subn(r"```vector " + name + r"\n.*?```\n", lambda _: text, page, flags=re.S)
    assert times == 1, name
open(sys.argv[1], "w").write(page)
