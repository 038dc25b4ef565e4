#pragma once
// The register entry of a home that joined while the ledger was out of reach: handed in again until it is in a block. Until
// then the home is known by its provisional name.

#include <string>

#include "dht/context.hpp"
#include "dht/ledger_sync.hpp"

namespace diot {

/// Table::meta's key of the register entry, as `diot join` left it.
inline Bytes meta_registration() { return to_bytes("registration"); }

class OwnRegistration {
 public:
  OwnRegistration(OverlayContext& context, LedgerSync& sync) : context_(context), sync_(sync) {}
  /// Errc::corrupt if what is on disk is no register entry.
  Result<void> load();
  /// Whether it is in the ledger now, or cannot come there any more.
  void ledger_changed();
  /// A link leads to somebody who may know a witness.
  void link_up() { try_soon(); }
  void tick();

  enum class State : std::uint8_t {
    none,  ///< there is nothing to be done
    waits,
    refused,  ///< for good
  };
  State state() const { return state_; }
  /// Why it waits, or was refused; for people.
  std::string reason() const;
  /// Empty when there is none.
  const std::string& provisional_name() const { return name_; }
  /// What others are told of it: the entry, while it may still come into a block.
  Bytes told() const { return state_ == State::waits ? entry_ : Bytes(); }

 private:
  void judge();
  void try_soon() {
    next_try_ = {};
    pause_ = {};
  }

  OverlayContext& context_;
  LedgerSync& sync_;
  State state_ = State::none;
  Bytes entry_;
  std::string name_, reason_;
  bool under_way_ = false;
  Monotonic next_try_{};
  std::chrono::seconds pause_{};
};

}  // namespace diot
