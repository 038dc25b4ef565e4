#pragma once
// The verbs of `handle` that take the 24 words or several people's signatures. They run in the command line: the words
// and the keys that they give never come to the node.

#include <functional>
#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/witness.hpp"
#include "tools/app/api.hpp"
#include "tools/app/home.hpp"

namespace diot {

struct HandleTools {
  const Home& home;
  std::function<Result<Json>(std::string_view verb, const Json& args)> ask;  ///< the running node
  std::function<Result<std::string>()> read_words;                           ///< as they were typed
};

/// `verb` is "handle keys", "rotate", "release", "guardians", "transfer", "recover" or "sign". Shapes: tools/app/api.hpp.
Result<Json> handle_verb(std::string_view verb, const Json& args, const HandleTools& tools);

/// An entry on its way between people: "diot-entry:…", one line, with the network for whose ledger it is signed.
struct EntryText {
  NetworkId network;
  Bytes entry;
};
std::string encode_entry_text(const EntryText& text);
Result<EntryText> decode_entry_text(std::string_view text);
/// That of the argument "entry", which must be for this network.
Result<EntryText> entry_text_for(const NetworkId& network, const Json& args);
/// Sets WitnessSet::fragile; two or three witnesses need the argument "accept-fragile".
Result<void> judge_fragile(WitnessSet& set, const Json& args);

}  // namespace diot
