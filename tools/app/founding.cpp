#include "tools/app/founding.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/ledger/agreement.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/work_stamp.hpp"
#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/text.hpp"
#include "core/words.hpp"
#include "dht/dht_key.hpp"
#include "dht/overlay.hpp"

namespace diot {

namespace {

constexpr std::string_view offer_scheme = "diot-founder:", founding_scheme = "diot-genesis:";
constexpr std::size_t address_bytes_max = 300;
constexpr std::size_t text_bytes_max = 2 << 20;

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

std::string offer_path(const std::string& home) { return home + "/offer"; }

void write_addresses(PackWriter& out, const std::vector<std::string>& addresses) {
  out.array(addresses.size());
  for (const auto& address : addresses) out.str(address);
}
std::vector<std::string> read_addresses(PackReader& in) {
  std::vector<std::string> out;
  for (auto left = in.array(limits::addresses_per_node_max); left > 0 && in.ok(); --left)
    out.emplace_back(in.str(address_bytes_max));
  return out;
}

/// A founder's witness key is its node key, so that everybody knows on which node a witness runs.
Result<Registration> registration_of(ByteView entry) {
  const auto decoded = decode_entry(entry);
  if (!decoded) return tl::unexpected(decoded.error());
  const auto* body = std::get_if<RegisterBody>(&decoded->body);
  if (!body || body->what.nodes.size() != 1) return fail(Errc::invalid, "an offer registers one handle with one node");
  return body->what;
}

/// The genesis that all have signed.
Bytes genesis_of(const Founding& founding) {
  std::vector<Signature> signatures;
  for (const auto& each : founding.signed_by) signatures.push_back(each.value_or(Signature{}));
  return signed_genesis(founding.genesis, signatures);
}

/// Block 1 follows from the genesis alone, so everybody votes for the same.
Result<Ledger::Proposal> first_block_of(const Founding& founding) {
  return Ledger::from_genesis(genesis_of(founding)).and_then([](const Ledger& ledger) {
    return ledger.propose(ledger.genesis().founding, ledger.genesis().time);
  });
}

}  // namespace

// The texts --------------------------------------------------------------------------------------------------------

std::string encode_offer(const FounderOffer& offer) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(4);
  out.uint(1);
  out.bin(offer.entry);
  out.bin(offer.succession);
  write_addresses(out, offer.addresses);
  return encode_line(offer_scheme, bytes);
}

Result<FounderOffer> decode_offer(std::string_view text) {
  const auto bytes = decode_line(offer_scheme, text, text_bytes_max);
  PackReader in(bytes ? ByteView(*bytes) : ByteView());
  in.array_of(4);
  const auto version = in.uint();
  FounderOffer out;
  out.entry = to_bytes(in.bin(limits::entry_bytes_max));
  out.succession = in.id<Hash>();
  out.addresses = read_addresses(in);
  if (!in.done())
    return fail(Errc::invalid,
                "that is no offer, or it was cut off: copy the whole line that begins with 'diot-founder:'");
  if (version != 1) return fail(Errc::not_available, "the offer needs a newer diot");
  if (auto registration = registration_of(out.entry); !registration) return tl::unexpected(registration.error());
  return out;
}

bool Founding::is_signed() const {
  return std::ranges::all_of(signed_by, [](const auto& each) { return each.has_value(); });
}
bool Founding::is_complete() const { return is_signed() && is_quorum(votes.size(), signed_by.size()); }

std::string encode_founding(const Founding& founding) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(6);
  out.uint(1);
  out.bin(founding.genesis);
  out.array(founding.signed_by.size());
  for (const auto& each : founding.signed_by) each ? out.bin(*each) : out.nil();
  write_block_votes(out, founding.votes);
  out.bin(founding.dht_key);
  out.array(founding.addresses.size());
  for (const auto& each : founding.addresses) write_addresses(out, each);
  return encode_line(founding_scheme, bytes);
}

Result<Founding> decode_founding(std::string_view text) {
  const auto bytes = decode_line(founding_scheme, text, text_bytes_max);
  PackReader in(bytes ? ByteView(*bytes) : ByteView());
  in.array_of(6);
  const auto version = in.uint();
  Founding out;
  out.genesis = to_bytes(in.bin(limits::genesis_bytes_max));
  for (auto left = in.array(limits::witnesses_max); left > 0 && in.ok(); --left) {
    if (in.nil())
      out.signed_by.emplace_back();
    else
      out.signed_by.emplace_back(in.id<Signature>());
  }
  out.votes = read_block_votes(in);
  out.dht_key = in.id<Seed>();
  for (auto left = in.array(limits::witnesses_max); left > 0 && in.ok(); --left)
    out.addresses.push_back(read_addresses(in));
  if (!in.done())
    return fail(Errc::invalid,
                "that is no genesis, or it was cut off: copy the whole line that begins with 'diot-genesis:'");
  if (version != 1) return fail(Errc::not_available, "the genesis needs a newer diot");
  const auto genesis = decode_unsigned_genesis(out.genesis);
  if (!genesis) return tl::unexpected(genesis.error());
  if (genesis->witnesses.empty() || genesis->witnesses.size() != out.signed_by.size() ||
      out.addresses.size() != out.signed_by.size())
    return fail(Errc::invalid, "the genesis does not have a place for each founder's signature");
  for (std::size_t i = 0; i < out.signed_by.size(); ++i)
    if (out.signed_by[i] && !verify(genesis->witnesses[i], *out.signed_by[i], "genesis", NetworkId{}, out.genesis))
      return fail(Errc::invalid, fmt::format("the signature of founder {} is wrong", i + 1));
  if (!out.is_signed()) {
    if (!out.votes.empty()) return fail(Errc::invalid, "somebody voted for block 1 before all had signed the genesis");
    return out;
  }
  const auto block = first_block_of(out);
  if (!block) return tl::unexpected(block.error());
  const auto hash = block_hash(block->header);
  std::optional<std::uint32_t> last;
  for (const auto& vote : out.votes) {
    if ((last && vote.witness <= *last) || vote.witness >= genesis->witnesses.size() ||
        !check_vote(vote.precommit(1, 0, hash), block->header.network, genesis->witnesses[vote.witness]))
      return fail(Errc::invalid, fmt::format("the vote of founder {} is wrong", vote.witness + 1));
    last = vote.witness;
  }
  return out;
}

// The steps --------------------------------------------------------------------------------------------------------

Result<Founding> draft_founding(const std::vector<FounderOffer>& offers, const FoundingTerms& terms, WallMs now,
                                Random& random) {
  Founding out;
  Genesis genesis;
  random.fill(genesis.nonce);
  genesis.time = now;
  genesis.succession = offers.at(0).succession;
  genesis.admission = terms.admission;
  genesis.lease_days = terms.lease_days;
  if (terms.for_tests) genesis.rules_version |= test_rules;
  for (const auto& offer : offers) {
    const auto registration = registration_of(offer.entry);
    if (!registration) return tl::unexpected(registration.error());
    const auto key = key_of(registration->nodes.front().first);
    if (std::ranges::find(genesis.witnesses, key) != genesis.witnesses.end())
      return fail(Errc::invalid, fmt::format("the offer of '{}' is there twice", registration->handle));
    genesis.witnesses.push_back(key);
    genesis.founding.push_back(offer.entry);
    out.addresses.push_back(offer.addresses);
    out.signed_by.emplace_back();
  }
  if (genesis.admission == Admission::open &&
      (genesis.witnesses.size() < limits::solid_witnesses_min || genesis.lease_days == 0))
    return fail(Errc::invalid,
                "a network that is open to everybody has 4 founders or more, and leases: say --lease-days 90");
  out.genesis = unsigned_genesis(genesis);
  out.dht_key = random.id<Seed>();
  return out;
}

Result<void> sign_founding(Founding& founding, const KeyPair& witness) {
  const auto genesis = decode_unsigned_genesis(founding.genesis);
  if (!genesis) return tl::unexpected(genesis.error());
  const auto at = std::ranges::find(genesis->witnesses, witness.public_key());
  if (at == genesis->witnesses.end())
    return fail(Errc::not_permitted, "this home is none of the founders: nobody put its offer into the draft");
  const auto index = static_cast<std::uint32_t>(at - genesis->witnesses.begin());
  const bool had_signed = founding.signed_by[index].has_value();
  founding.signed_by[index] = sign_genesis(founding.genesis, witness);
  if (!founding.is_signed())
    return had_signed ? fail(Errc::exists, "this home has signed it: the others have to, too") : Result<void>();
  // Whether the network that all have agreed to keeps its own rules.
  const auto block = first_block_of(founding);
  if (!block) return tl::unexpected(block.error());
  const auto place = std::ranges::lower_bound(founding.votes, index, {}, &BlockView::Vote::witness);
  if (place != founding.votes.end() && place->witness == index)
    return fail(Errc::exists, "this home has signed it and voted for it");
  founding.votes.insert(place, make_vote(block->header, 0, index, block->header.time, witness));
  return {};
}

// The verbs --------------------------------------------------------------------------------------------------------

Result<Json> genesis_offer(const std::string& path, const Config& config, Random& random, const ShowWords& show_words) {
  const auto home = Home::create(path);
  if (!home) return tl::unexpected(home.error());
  if (const auto made = read_file(offer_path(path), text_bytes_max))
    return Json{{"offer", first_line(as_text(*made))},
                {"next", "this offer was made before; its words are those that were shown then"}};
  const std::string words = make_words(random);
  const KeyPair owner = owner_key(words, 0), node = KeyPair::generate(random);
  const Registration registration{
      config.handle, owner.public_key(), next_key_hash_of(words), {{node.node_id(), Role::admin}}};
  if (auto valid = check_registrable(config.handle); !valid) return tl::unexpected(valid.error());
  FounderOffer offer;
  offer.entry = make_register(registration, NetworkId{}, Checkpoint{}, owner, {node}, nullptr);
  offer.succession = sha256(succession_key(words).public_key());
  offer.addresses = told_addresses(config);
  const auto text = encode_offer(offer);
  const auto written = first_error({
      [&] { return home->write_key("node", node); },
      [&] { return home->write_key("owner", owner); },
      [&] { return home->write_config(to_toml(config)); },
      [&]() -> Result<void> { return show_words(words), Result<void>{}; },
      [&] { return home->write_next_key_hash(registration.next_key); },
      [&] { return write_file(offer_path(path), as_bytes(text + "\n")); },
  });
  if (!written) return tl::unexpected(written.error());
  return Json{{"offer", text},
              {"handle", config.handle},
              {"node", to_display(node.node_id())},
              {"next", "hand the line to the founder who runs `diot genesis draft`"}};
}

static Json answer_of(const Founding& founding) {
  const auto missing = static_cast<std::size_t>(
      std::ranges::count_if(founding.signed_by, [](const auto& each) { return !each.has_value(); }));
  const auto network = sha256(founding.genesis);
  Json out{{"genesis", encode_founding(founding)},  {"network", network.hex()},
           {"founders", founding.signed_by.size()}, {"signatures_missing", missing},
           {"votes", founding.votes.size()},        {"votes_needed", quorum_size(founding.signed_by.size())}};
  out["next"] = missing > 0 ? "hand the line to a founder who has not signed: `diot genesis sign LINE --yes`"
                : !founding.is_complete()
                    ? "all have signed; hand the line to founders again until enough have voted for the first block: "
                      "`diot genesis sign LINE --yes`"
                    : "it is complete: every founder runs `diot genesis start LINE`, then `diot run`";
  return out;
}

Result<Json> genesis_draft(const std::string& path, const Json& args, Random& random, const Clock& clock) {
  const auto home = Home::create(path);
  if (!home) return tl::unexpected(home.error());
  const auto own = read_file(offer_path(path), text_bytes_max);
  if (!own) return fail(Errc::not_found, "this home has made no offer: run `diot genesis offer --handle NAME` first");
  std::vector<FounderOffer> offers;
  const auto add = [&](std::string_view text) {
    auto offer = decode_offer(text);
    if (offer) offers.push_back(std::move(*offer));
    return offer ? Result<void>() : tl::unexpected(offer.error());
  };
  if (auto added = add(first_line(as_text(*own))); !added) return tl::unexpected(added.error());
  const auto given = args.at("offers").get<std::string>();
  for (std::string_view rest = given; !rest.empty();)
    if (const auto text = take_until(rest, ','); !text.empty())
      if (auto added = add(text); !added) return tl::unexpected(added.error());
  if (offers.size() < limits::solid_witnesses_min && !args.contains("accept-fragile"))
    return fail(Errc::not_permitted,
                fmt::format("with {} founders nothing is registered any more while one of them is away; be {} or more, "
                            "or say --accept-fragile",
                            offers.size(), limits::solid_witnesses_min));
  const FoundingTerms terms{
      args.value("admission", std::string("invite")) == "open" ? Admission::open : Admission::invite,
      static_cast<std::uint32_t>(args.value("lease-days", std::uint64_t{0})), args.contains("for-tests")};
  auto founding = draft_founding(offers, terms, clock.wall_ms(), random);
  if (!founding) return tl::unexpected(founding.error());
  const auto node = home->node_key();
  if (!node) return tl::unexpected(node.error());
  if (auto added = sign_founding(*founding, *node); !added) return tl::unexpected(added.error());
  return answer_of(*founding);
}

Result<Json> genesis_sign(const std::string& path, const Json& args) {
  const auto home = Home::create(path);
  if (!home) return tl::unexpected(home.error());
  auto founding = decode_founding(args.at("genesis").get<std::string>());
  if (!founding) return tl::unexpected(founding.error());
  const auto node = home->node_key();
  if (!node) return tl::unexpected(node.error());
  const auto genesis = decode_unsigned_genesis(founding->genesis);
  if (!args.contains("yes")) {
    std::vector<std::string> handles;
    for (const auto& entry : genesis->founding)
      handles.push_back("@" + registration_of(entry).value_or(Registration{}).handle);
    return fail(
        Errc::not_permitted,
        fmt::format(
            "this founds network {}… of {}, who decide it together, {}, {}{}; the words of {} can replace "
            "all of them after 72 hours of silence. Say --yes if that is what you want",
            sha256(founding->genesis).hex().substr(0, 16), fmt::join(handles, ", "),
            genesis->admission == Admission::open ? "open to everybody" : "by invitation",
            genesis->lease_days == 0 ? "with no leases" : fmt::format("with leases of {} days", genesis->lease_days),
            genesis->rules_version & test_rules ? ", for tests: names cost no work" : "", handles.front()));
  }
  if (auto added = sign_founding(*founding, *node); !added) return tl::unexpected(added.error());
  return answer_of(*founding);
}

Result<Json> genesis_start(const std::string& path, const Json& args, Random& random) {
  const auto home = Home::create(path);
  if (!home) return tl::unexpected(home.error());
  const auto founding = decode_founding(args.at("genesis").get<std::string>());
  if (!founding) return tl::unexpected(founding.error());
  if (!founding->is_complete())
    return fail(Errc::not_permitted, "the genesis is not complete: " + answer_of(*founding)["next"].get<std::string>());
  const auto node = home->node_key();
  if (!node) return tl::unexpected(node.error());
  const auto genesis_bytes = genesis_of(*founding);
  auto ledger = Ledger::from_genesis(genesis_bytes);
  if (!ledger) return tl::unexpected(ledger.error());
  const auto& witnesses = ledger->genesis().witnesses;
  if (std::ranges::find(witnesses, node->public_key()) == witnesses.end())
    return fail(Errc::not_permitted, "this home is none of the founders: join with an invite of one of them");
  const auto proposal = first_block_of(*founding);
  if (!proposal) return tl::unexpected(proposal.error());
  const auto block = encode_block(proposal->header, proposal->entries, 0, founding->votes);
  if (auto appended = ledger->append(block); !appended) return tl::unexpected(appended.error());
  const auto written = first_error({
      [&] { return home->api_token(random).map([](const auto&) {}); },
      [&]() -> Result<void> {
        auto offline = OfflineStore::open(*home);
        if (!offline) return tl::unexpected(offline.error());
        Store& store = (*offline)->store();
        erase_everything(store);
        store.put(Table::block, block_key(1), block);
        store.put(Table::meta, meta_dht_key(), encode_dht_key({1, founding->dht_key}));
        // What it voted on block 1 stands in the genesis' text; nothing of it is ever said again.
        store.put(Table::meta, witness_memory_key(), Agreement::new_memory(node->public_key(), 2));
        for (std::size_t i = 0; i < witnesses.size(); ++i)
          if (witnesses[i] != node->public_key() && !founding->addresses[i].empty())
            store.put(Table::peer, NodeId(witnesses[i].bytes), encode_addresses(founding->addresses[i]));
        return (*offline)->commit();
      },
      [&] { return home->write_genesis(genesis_bytes); },
  });
  if (!written) return tl::unexpected(written.error());
  const HandleRecord* own = ledger->handle_of(node->node_id());
  return Json{{"handle", own ? Json(own->handle) : Json(nullptr)},
              {"node", to_display(node->node_id())},
              {"network", ledger->network().hex()},
              {"witnesses", witnesses.size()},
              {"home", path}};
}

}  // namespace diot
