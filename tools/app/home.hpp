#pragma once
// The folder of one node, $DIOT_HOME: what is in it, who may read it, and how it changes without being half written.
//
//   diot.toml    configuration (tools/app/config.hpp)
//   genesis      the network's founding bytes (docs/protocol.md, "Genesis"). Written last: a home that has it is
//                complete
//   diot.db      everything that changes while the node runs (core/sqlite_store.hpp)
//   node.key, owner.key, witness.key
//                one line each: "diot-key-1 <node|owner|witness> <64 hex digits>"
//   next.hash    one line: the SHA-256 of the next owner key, in hex. The key itself is in the 24 words only
//   api.sock     control socket of the running node
//   api.token    one line: what HTTP requests carry as "Authorization: Bearer …"
//   moving/      the same home in another network, while `diot join` makes it (tools/app/move.hpp)
//   old-<network>/
//                a network that the home was in before: its ledger, and what else stayed behind
//
// The folder is 0700 and every file 0600.

#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

class Home {
 public:
  /// $DIOT_HOME, or $XDG_DATA_HOME/diot, or ~/.local/share/diot.
  static std::string default_path();
  /// Errc::not_found names `diot init` and `diot join` if the home is not complete. Ends a move that is complete and was
  /// interrupted.
  static Result<Home> open(const std::string& path);
  /// Makes the folder (0700), also where an interrupted `init` or `join` left one. Errc::exists if it is complete.
  static Result<Home> create(const std::string& path);

  /// Makes the home that is to take this one's place, in a folder inside and with the same keys. What an interrupted move
  /// left goes first. Completing it (write_genesis) and `open` of this one make the move.
  struct Move;
  Result<Move> begin_move(std::string_view old_network) const;

  const std::string& path() const { return path_; }
  std::string config_path() const { return path_ + "/diot.toml"; }
  std::string database_path() const { return path_ + "/diot.db"; }
  std::string socket_path() const { return path_ + "/api.sock"; }
  std::string token_path() const { return path_ + "/api.token"; }

  Result<KeyPair> node_key() const { return read_key("node"); }
  Result<KeyPair> owner_key() const { return read_key("owner"); }
  /// Errc::not_found at a node that is no witness.
  Result<KeyPair> witness_key() const { return read_key("witness"); }
  Result<Hash> next_key_hash() const;
  Result<Bytes> genesis() const;
  /// The token for HTTP; made at the first call.
  Result<std::string> api_token(Random& random) const;

  /// `role` is "node", "owner" or "witness".
  Result<void> write_key(std::string_view role, const KeyPair& key) const;
  Result<void> write_next_key_hash(const Hash& hash) const;
  Result<void> remove_next_key_hash() const;
  Result<void> write_config(std::string_view text) const;
  /// Completes the home.
  Result<void> write_genesis(ByteView bytes) const;

 private:
  explicit Home(std::string path) : path_(std::move(path)) {}
  Result<KeyPair> read_key(std::string_view role) const;
  std::string path_;
};

struct Home::Move {
  Home home;
  std::string old_folder;  ///< for what stays behind
};

/// Writes a temporary file beside it (mode 0600), syncs it, renames it into place and syncs the folder: after a power
/// cut either the old or the new content is there.
Result<void> write_file(const std::string& path, ByteView content);
/// Errc::not_found if it is not there, Errc::limit if it is larger than `bytes_max`.
Result<Bytes> read_file(const std::string& path, std::size_t bytes_max);

}  // namespace diot
