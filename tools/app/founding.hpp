#pragma once
// Founding a network together: each founder makes the keys at home and hands out an offer; one makes a draft of the offers;
// it goes from home to home, and each signs the genesis and then votes for block 1; what is complete each home starts from
// (docs/ledger.md, "Founding a network together"). No node runs and no network is needed: people carry lines of text.

#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/genesis.hpp"
#include "tools/app/config.hpp"
#include "tools/app/home.hpp"
#include "tools/app/setup.hpp"

namespace diot {

/// "diot-founder:…", one line: what a home brings in.
struct FounderOffer {
  Bytes entry;      ///< registers its handle, signed
  Hash succession;  ///< of its words' succession key
  std::vector<std::string> addresses;
};
std::string encode_offer(const FounderOffer& offer);
Result<FounderOffer> decode_offer(std::string_view text);

/// "diot-genesis:…", one line, for the founders' eyes only: it holds the network's DHT key.
struct Founding {
  Bytes genesis;                                    ///< unsigned
  std::vector<std::optional<Signature>> signed_by;  ///< in the witnesses' order
  std::vector<BlockView::Vote> votes;               ///< for block 1, ascending; once all have signed
  Seed dht_key;
  std::vector<std::vector<std::string>> addresses;  ///< in the same order

  bool is_signed() const;
  /// Enough have voted: it can be started.
  bool is_complete() const;
};
std::string encode_founding(const Founding& founding);
/// Shape, and every signature and vote that is there.
Result<Founding> decode_founding(std::string_view text);

struct FoundingTerms {
  Admission admission = Admission::invite;
  std::uint32_t lease_days = 0;
  bool for_tests = false;  ///< core/ledger/work_stamp.hpp, test_rules
};
/// The holder of the first offer holds the succession key.
Result<Founding> draft_founding(const std::vector<FounderOffer>& offers, const FoundingTerms& terms, WallMs now,
                                Random& random);
/// Adds what the key of a founder can add now: its signature, and once all are there its vote. Errc::exists: nothing;
/// Errc::not_permitted: it is no founder.
Result<void> sign_founding(Founding& founding, const KeyPair& witness);

// The verbs, at the home in a folder (shapes: tools/app/api.hpp) ---------------------------------------------------
Result<Json> genesis_offer(const std::string& path, const Config& config, Random& random, const ShowWords& show_words);
Result<Json> genesis_draft(const std::string& path, const Json& args, Random& random, const Clock& clock);
Result<Json> genesis_sign(const std::string& path, const Json& args);
Result<Json> genesis_start(const std::string& path, const Json& args, Random& random);

}  // namespace diot
