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
    more = of.get("more", [])
    return pack([2 if more else 1] + [of[field] for field in fields] + more)


def map_root(records, network_record=None):
    items = [(sha(each["handle"].encode()), sha(record(each))) for each in records]
    if network_record:
        items.append((sha(b"/network"), sha(network_record)))
    return sparse_root(items)


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
founded = [1, 1, nonce, START, 1, [witness.pub], sha(succession.pub), 0, LEASE_DAYS, 3, [founding]]
unsigned = pack(founded)
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

# Proofs as of block 2: that alice's update stands in the log as number 2, and that the log begins with that of block 1.


def shortened(height, time, previous, size, log, handles, *told):
    """A header as proofs have it; `told`: the hash of the witness keys, where the reader does not know them."""
    return [1, height, time, previous, size, log, handles, *told, witness_set]


def proof(kind, height, time, header, *statement):
    votes = [[0, time, witness.sign("vote", network, pack([2, height, 0, sha(header), time]))]]
    return pack([1, 1, kind, pack(founded), None, [], *shortened_2, 0, votes, *statement])


def node(left, right):
    return sha(b"\1", left, right)


leaves = [leaf(each) for each in [founding] + entries]
shortened_2 = shortened(2, time_2, hash_1, 4, log_2, map_2)
path = leaves[3] + node(leaves[0], leaves[1])
assert node(path[32:], node(leaves[2], path[:32])) == log_2
example("proof-entry-1", index=2, proof=proof(1, 2, time_2, header_2, updated, 2, path))
old = shortened(1, START, sha(genesis), 1, log_1, map_1, witness_set)
vote_1 = [0, START, witness.sign("vote", network, pack([2, 1, 0, hash_1, START]))]
path = leaves[1] + node(leaves[2], leaves[3])
assert node(node(log_1, path[:32]), path[32:]) == log_2
example("proof-consistency-1", proof=proof(2, 2, time_2, header_2, old + [0, [vote_1]], path))

# Block 3: what else may happen to handles and to the network.
time_3 = START + 2 * DAY
recent = (2, hash_2)
alice_after, alice_third = Key(104), Key(105)
recovered_owner, recovered_next, recovered_node = Key(106), Key(107), Key(108)
bob_buyer, buyer_next, buyer_node, new_witness = Key(300), Key(301), Key(302), Key(11)

rotated = entry(3, recent, ["alice", 3, alice_next.pub, sha(alice_after.pub)], [alice_next], network)
example("entry-rotate-1", after_next_seed=alice_after.seed, entry=rotated, hash=leaf(rotated))

transferred = entry(
    5, recent, ["bob", 3, bob_buyer.pub, sha(buyer_next.pub), [[buyer_node.pub, 1]]],
    [bob_owner, bob_next, bob_buyer, buyer_node], network,
)
example(
    "entry-transfer-1", new_owner_seed=bob_buyer.seed, new_next_seed=buyer_next.seed, new_node_seed=buyer_node.seed,
    entry=transferred, hash=leaf(transferred),
)

cut_offs = [[bytes([1] * 32), 5, 50, 100, sha(b"header")]]
revoked = entry(6, recent, ["alice", 4, alice_new_node.pub, cut_offs], [alice_next], network)
example("entry-revoke-node-1", cut_offs=pack(cut_offs), entry=revoked, hash=leaf(revoked))

guarded = entry(7, recent, ["alice", 5, 1, ["bob"]], [alice_next, alice_after], network)
example("entry-set-guardians-1", entry=guarded, hash=leaf(guarded))

recovery = ["alice", 6, recovered_owner.pub, sha(recovered_next.pub), [[recovered_node.pub, 1]]]
recovered = entry(8, recent, recovery, [recovered_owner, recovered_node, bob_buyer], network)
example(
    "entry-recover-1", new_owner_seed=recovered_owner.seed, new_next_seed=recovered_next.seed,
    new_node_seed=recovered_node.seed, entry=recovered, hash=leaf(recovered),
)

cancelled = entry(9, recent, ["alice", 7], [alice_next], network)
example("entry-cancel-recovery-1", entry=cancelled, hash=leaf(cancelled))

released = entry(10, recent, ["bob", 4], [bob_buyer, buyer_next], network)
example("entry-release-1", entry=released, hash=leaf(released))

new_set = [1, [[new_witness.pub, alice_node.pub]]]
changed = entry(11, recent, [1, new_set], [witness, new_witness], network)
example("entry-witness-change-1", new_witness_seed=new_witness.seed, entry=changed, hash=leaf(changed))

upgraded = entry(12, recent, [2, 2, 50], [witness], network)
example("entry-upgrade-1", entry=upgraded, hash=leaf(upgraded))


def voted(block_hash):
    return [block_hash, START, witness.sign("vote", network, pack([1, 1, 0, block_hash, START]))]


double_vote = pack([witness.pub, 1, 1, 0] + [voted(each) for each in sorted([sha(b"one"), sha(b"other")])])
accused = entry(13, recent, [double_vote], [alice_node], network)
example("entry-evidence-1", double_vote=double_vote, entry=accused, hash=leaf(accused))

succeeded = entry(14, recent, [3, new_set], [succession, new_witness], network)
example("entry-succession-1", entry=succeeded, hash=leaf(succeeded))

stamped = entry(1, recent, ["carol", bob_owner.pub, sha(bob_next.pub), [[bob_node.pub, 1]], None, bytes(7) + b"\x07"],
                [bob_owner, bob_node], network)
example("entry-register-2", stamp=7, entry=stamped, hash=leaf(stamped))

DELAY = 3 * DAY
alice_entries, bob_entries = [rotated, revoked, guarded, recovered], [transferred, released]
alice = dict(
    alice, owner=alice_next.pub, next=sha(alice_after.pub), nodes=[[alice_node.pub, 1]], version=6,
    more=[[1, [["bob", leaf(registered)]]], recovery[2:] + [time_3 + DELAY, 0],
          [[alice_new_node.pub, 3, sha(pack(cut_offs))]], 0],
)
bob = dict(
    bob, owner=bob_buyer.pub, next=sha(buyer_next.pub), nodes=[], version=4, more=[[0, []], None, [], time_3],
)
network_record = pack([1, 2, [1, [[witness.pub, ZERO]]], [5, new_set], 1, [50, 2], [[witness.pub, leaf(accused)]]])
entries = [rotated, transferred, revoked, guarded, recovered, released, changed, upgraded, accused]
log_3 = log_root([leaf(each) for each in [founding, registered, updated, renewed] + entries])
map_3 = map_root([alice, bob], network_record)
header_3, hash_3, block_3 = block(3, time_3, hash_2, 13, log_3, map_3, entries)
example(
    "block-3", time=time_3, alice_record=record(alice), bob_record=record(bob), network_record=network_record,
    log_root=log_3, map_root=map_3, header=header_3, hash=hash_3, block=block_3,
)

page = open(sys.argv[1]).read()
for name, text in examples.items():
    page, times = re.subn(r"```vector " + name + r"\n.*?```\n", lambda _: text, page, flags=re.S)
    if times == 0:  # a new one comes last
        page = page.rstrip("\n") + "\n\n" + text
open(sys.argv[1], "w").write(page)
