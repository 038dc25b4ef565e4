#pragma once
// What a running node can be asked to do, and how the answers look. The unix socket (tools/app/control.hpp), HTTP
// (tools/app/http.hpp) and so the command line all come here.
//
// A verb is named as it is typed: "status", "share add". Its arguments are those of the table in tools/app/options.cpp
// by their long names without "--" ("expiry-days") or, for positional ones, in lower case ("filter"); `check_args` has
// let only known ones of the right type through. Flags are true or absent, counts are unsigned numbers, lists arrays of
// strings, the rest strings.
//
// Results, all of them objects. Ids are hex, except "node" and "nodes", which are as people see them (to_display).
// Names that end in _ms are milliseconds since 1970, UTC.
//
//   version          {version}
//   status           {version, uptime_s, handle, handle_state: "active" | "provisional" | "refused" | "none", node, network,
//                     registrar: "@alice (trusted)", the sole witness, or null, height, head, head_time_ms,
//                     mqtt: [address, …], api: [address, …], overlay: [address, …], shares, clients, sessions,
//                     subscriptions, retained, messages_in, messages_out, links, dht_nodes, store_pending_bytes,
//                     warnings: [text, …]}   further members may follow: the command line prints what it finds
//   peers            {peers: [{handle or null, node, address, state: "up" | "dialling" | "down", since_ms or null,
//                     dialled_by_us, rtt_ms or null, unsent_bytes}, …]}
//   genesis offer    args {handle, and as init}: {offer, handle, node, next: text}; command line only, as these four
//   genesis draft    args {offers: "a,b", admission?, lease-days?, accept-fragile?}: {genesis, network, founders,
//   genesis sign     args {genesis, yes?}: likewise      signatures_missing, votes, votes_needed, next: text}
//   genesis start    args {genesis}: {handle, node, network, witnesses, home}
//   wait             args {ready?, topic?}; answers at once: {done, waiting_for: [text, …]}
//   reload           {users: count, rules: count, listeners: count}. Errc::invalid names what could not be read
//   user add         args {name}: {user, password if it was made, reloaded: a node runs and knows}; with the command
//   user passwd      line only, as these three; likewise
//   user remove      args {name}: {user, reloaded}
//   user list        {users: [{user, hash, scram}, …]}
//   import           args {file, apply?}: {config: text of diot.toml, applied, notes: [text, …]}; command line only
//   invite           args {uses?, expiry-days?, open?}: {invite, uses, expires_ms}; null, with open: without end
//   handle register  args {handle}: {handle, height}
//   handle show      args {handle?} (the own one): {handle, owner, next_key: its hash, nodes: [{node, role}, …],
//                     persons: [{person, key}, …], version, height, registered_ms, lease_until_ms or null, guardians:
//                     [handle, …], threshold, recovery: {owner, due_ms, cancellable} or null, revoked: [{node, height},
//                     …], released_ms or null, profile: a hash or null, register_entry, ours}
//   handle renew     {handle, version, height, lease_until_ms or null}
//   handle update    args {remove-node?: [node id, …], role?: ["NODE=admin" or "NODE=member", …], person?: ["NAME=KEY",
//                     …], remove-person?: [name, …]; add-node is refused}: as handle show
//   handle revoke-node      args {node, yes}: as handle show. Errc::not_permitted says what it does without yes
//   handle cancel-recovery  as handle show
//   handle submit           args {entry: "diot-entry:…"}: {kind, handle or null, version, height}
//   handle keys             {owner, next-key-hash, node}; with the command line only, as the six below
//   handle rotate           as handle show
//   handle release          args {yes}: as handle submit
//   handle guardians        args {guardian?: [handle, …], threshold?, none?}: as handle show
//   handle transfer         args {owner, next-key-hash, node: [node id, …], yes}: {entry, kind, handle, next: what to do}
//   handle recover          args {handle, owner, next-key-hash, node: [node id, …]}: likewise
//   handle sign             args {entry, yes}: {entry, kind, handle, signatures: count}
//   share add        args {filter, preset?}: {filter, preset, share, seq, effect: text}
//   share change     args {filter, preset, yes?}: as share add. Errc::not_permitted names --yes when it would widen
//   share remove     args {filter, yes?}: {filter, share, seq, effect: text}
//   share list       args {handle?}: {handle, shares: [{filter, preset, share, channel, seq}, …]}
//   share test       args {topic, as?: handle}: {topic, as, filter or null, read, write, why: text}
//   witness list     {epoch, trusted, succession: the key's hash, rules_version, witnesses: [{handle or null, node or null, key, ours,
//                     lied}, …], and while others are to follow: next_from_height, next_witnesses; likewise
//                     next_rules_version, next_rules_from_height}
//   witness status   {witness, witnesses, needed, in_reach, state: text, entries_waiting, round or null, double_votes?,
//                     successions?: [{height, possible_from_ms, votes, needed, witnesses: [text, …], refusal?}, …]}
//   witness invite   args {handles?: "a,b", remove?, accept-fragile?}: {entry, witnesses: count, next: text}
//   witness accept   args {entry, yes?}: {entry, kind, signatures}
//   witness upgrade  args {rules, from-height, yes?}: {entry, signatures, needed, next: text}; of the sole witness as
//                     witness list, with the height of the block that has the plan. Errc::not_permitted says what it
//                     does without yes
//   witness change   args {entry}: as handle submit; of a succession {kind, successions, next: text}
//   witness succeed  args {handles: "a,b", accept-fragile?}: {entry, witnesses: count, last_block, last_block_ms,
//                     possible_from_ms, next: text}; with the command line only
//   witness justify  args {height}: {height, justifications: [{round, block, prevotes: [{handle or null, witness,
//                     time_ms, signature}, …]}, …]}
//   witness resume   args {from-height, yes?}: as witness status
//   ledger list      args {prefix?, after?, limit?}: {handles: [{handle, nodes: count, version, height, registered_ms,
//                     lease_until_ms or null}, …], more_after: handle if there are more}
//   ledger show      args {handle}: as handle show
//   ledger history, tail   and where some of the asked blocks are not here: missing: [{from, to}, …]
//   ledger history   args {handle, kind?, from?, to?, since?, until?}: {handle, entries: [{height, time_ms, kind,
//                     version, hash}, …]}
//   ledger tail      args {count?, handle?, and as history}: {blocks: [{height, time_ms, hash, entries: [{kind, handle,
//                     version}, …]}, …]}, newest last
//   ledger stats     {network, witnesses, trusted, founded_ms, height, head, head_time_ms, handles, nodes, entries,
//                     entries_in_30_days, bytes, kinds: [{kind, entries}, …]}
//                     As ledger verify and (ledger_forks) status, where two histories were seen: forks: [{height, here,
//                     there, seen_ms, shown_by: handle or null, evidence: base64url}, …], and a warning for each
//   ledger prove     args {handle} or {entry: hash or number} or {consistency: height}, and pin?: {height, bytes, proof:
//                     base64url}, and {handle, registered}, {hash, index} or {from_height}
//   ledger checkpoint  {origin, entries, root, log_key, cosigner_key, cosigner_keys: the others' [text, …], note}. Errc::not_permitted at who is no witness
//   ledger anchor    {anchor, network, height, block, next: text}; args {anchor}: {handle, height, next: text}
//   ledger export    args {from, to}: {network, blocks: [{height, block: base64url}, …], next: height or null}; a page
//   ledger check-proof, ledger diff, ledger export to a file: command line only (tools/app/ledger_files.hpp, ledger_prove.hpp)
//   ledger verify    {network, height, head, blocks, entries, handles, log_root, map_root, and where the ledger here began
//                    with a snapshot: snapshot, snapshot_ms, snapshot_votes, snapshot_witnesses, headers}. Errc::corrupt names the
//                     first wrong block. args {full?}: as long as blocks of before the snapshot are missing, they are fetched, and it
//                     says {fetching: {blocks: still missing, trouble: text}}
//   ledger storage   {network, height, snapshot: height or null, blocks_here, tiles, tiles_here, missing: [{from, to}, …], and
//                     of a running node: keeps: "everything" or "its share", old_units, old_units_placed_here,
//                     old_units_not_safe_elsewhere, fetching: text or null, copies_wanted, linked: count, holders: [{handle,
//                     node, blocks, first}, …] that answered, in_fewer_copies: [{from, to}, …] of these and this one}

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/error.hpp"

namespace diot {

/// Members keep the order they were put in: it is the order in which people read them.
using Json = nlohmann::ordered_json;

class Api {
 public:
  virtual ~Api() = default;
  /// Runs `done` exactly once, on the I/O thread, from inside this call or later (also after the asker has gone).
  virtual void call(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done) = 0;
};

}  // namespace diot
