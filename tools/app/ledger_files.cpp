#include "tools/app/ledger_files.hpp"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/ledger/anchor.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/proof.hpp"
#include "core/ledger/tiles.hpp"
#include "tools/app/home.hpp"
#include "tools/app/ledger_answers.hpp"
#include "tools/app/ledger_query.hpp"

namespace diot {
namespace {

constexpr auto any_height = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t proof_file_bytes_max = 4 << 20;
constexpr std::size_t export_line_bytes_max = 4 << 20;  // a block of 1 MiB in base64, with its entries' lines

Error are_missing(std::uint64_t from, std::uint64_t to) {
  return {Errc::not_available,
          fmt::format("blocks {} to {} are not on this disk, as its ledger began with a snapshot: `diot ledger verify "
                      "--full` fetches them",
                      from, to)};
}

/// Every block from a height to another, in order; an error of `visit` ends it.
Result<void> each_block(const AskLedger& ask, std::uint64_t from, std::uint64_t to,
                        const std::function<Result<void>(const BlockView&, const std::string& base64)>& visit) {
  for (Json next = from; !next.is_null();) {
    Json args{{"from", next}};
    if (to != any_height) args["to"] = to;
    const auto page = ask("ledger export", args);
    if (!page) return tl::unexpected(page.error());
    for (const auto& row : (*page)["blocks"]) {
      const auto text = row["block"].get<std::string>();
      const auto bytes = from_base64url(text);
      const auto block = decode_block(bytes.value_or(Bytes{}));
      if (!block) return tl::unexpected(block.error());
      if (auto visited = visit(*block, text); !visited) return visited;
    }
    next = (*page)["next"];
  }
  return {};
}

WallMs now_ms() { return SystemClock().wall_ms(); }

}  // namespace

Result<void> export_lines(const AskLedger& ask, const Json& args, const std::function<void(std::string_view)>& out) {
  const auto query = ledger_query(args, now_ms());
  if (!query) return tl::unexpected(query.error());
  std::optional<Error> missing;
  auto next = std::max<std::uint64_t>(query->from, 1);
  const auto line_of = [&](const BlockView& block, const std::string& text) -> Result<void> {
    if (block.header.height != next) missing = are_missing(next, block.header.height - 1);
    next = block.header.height + 1;
    if (!query->takes(block.header)) return {};
    Json entries = Json::array();
    for (const auto& entry : block.entries)
      if (const auto view = describe_entry(entry); view && query->takes(*view))
        entries.push_back(
            {{"kind", view->kind}, {"handle", view->handle}, {"version", view->version}, {"hash", view->hash.hex()}});
    if (entries.empty() && query->asks_for_entries()) return {};
    const Json line{{"height", block.header.height},
                    {"time_ms", block.header.time},
                    {"hash", block.hash.hex()},
                    {"entries", std::move(entries)},
                    {"block", text}};
    out(line.dump() + "\n");
    return {};
  };
  auto read = each_block(ask, query->from, query->to, line_of);
  if (read && missing) return tl::unexpected(*missing);
  return read;
}

Result<Json> export_tiles(const AskLedger& ask, const Json& args) {
  const std::filesystem::path folder = args.at("tiles").get<std::string>();
  std::optional<Error> failed;
  std::size_t files = 0;
  const auto write = [&](const std::string& path, ByteView bytes) {
    if (failed) return;
    const auto file = folder / path;
    std::error_code error;
    std::filesystem::create_directories(file.parent_path(), error);
    std::ofstream stream(file, std::ios::binary | std::ios::trunc);
    stream.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    stream.close();
    if (!stream) failed = Error{Errc::io, fmt::format("{} cannot be written", file.string())};
    ++files;
  };
  // The checkpoint comes first, so that the tiles are never behind it; entries beyond it are left for the next export.
  const auto checkpoint = ask("ledger checkpoint", Json::object());
  if (!checkpoint && checkpoint.error().code != Errc::not_permitted) return tl::unexpected(checkpoint.error());
  const auto size = checkpoint ? std::optional((*checkpoint)["entries"].get<std::uint64_t>()) : std::nullopt;
  TileWriter tiles(write);
  std::uint64_t next = 1;
  const auto read = each_block(ask, 1, any_height, [&](const BlockView& block, const std::string&) -> Result<void> {
    if (block.header.height != next) return tl::unexpected(are_missing(next, block.header.height - 1));
    ++next;
    for (const auto& entry : block.entries)
      if (!size || tiles.size() < *size) tiles.add(entry);
    return failed ? Result<void>(tl::unexpected(*failed)) : Result<void>();
  });
  if (!read) return tl::unexpected(read.error());
  tiles.finish();
  if (checkpoint) write("checkpoint", as_bytes((*checkpoint)["note"].get_ref<const std::string&>()));
  if (failed) return tl::unexpected(*failed);
  Json out{{"folder", folder.string()}, {"entries", tiles.size()}, {"files", files}, {"checkpoint", bool(checkpoint)}};
  if (checkpoint) {
    out["log_key"] = (*checkpoint)["log_key"];
    out["cosigner_key"] = (*checkpoint)["cosigner_key"];
  }
  return out;
}

Result<Json> diff_ledger(const AskLedger& ask, const Json& args) {
  const auto file = args.at("file").get<std::string>();
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return fail(Errc::not_found, fmt::format("{} cannot be read", file));
  std::map<std::uint64_t, Hash> theirs;
  NetworkId network;
  std::string line;
  for (std::size_t number = 1; std::getline(stream, line); ++number) {
    const auto wrong = [&](std::string_view why) {
      return fail(Errc::invalid, fmt::format("{}, line {}: {}", file, number, why));
    };
    if (line.size() > export_line_bytes_max) return wrong("too long for a block");
    const auto row = Json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("block") || !row["block"].is_string())
      return wrong("not a line of `diot ledger export`");
    const auto bytes = from_base64url(row["block"].get_ref<const std::string&>());
    const auto block = bytes ? decode_block(*bytes) : Result<BlockView>(fail(Errc::invalid, "no block"));
    if (!block) return wrong(block.error().message);
    if (!theirs.empty() && block->header.network != network) return wrong("of another network than the line before");
    network = block->header.network;
    theirs[block->header.height] = block->hash;
  }
  if (theirs.empty()) return fail(Errc::invalid, fmt::format("{} holds no block", file));
  Json out{{"network", network.hex()}, {"agree", true}};
  std::uint64_t here = 0, same = 0;
  Json difference = nullptr;
  const auto read = each_block(ask, 1, any_height, [&](const BlockView& block, const std::string&) -> Result<void> {
    here = block.header.height;
    if (block.header.network != network) return fail(Errc::invalid, fmt::format("{} is of another network", file));
    const auto at = theirs.find(here);
    if (at == theirs.end()) return {};
    if (at->second == block.hash && difference.is_null()) same = here;
    if (at->second != block.hash && difference.is_null())
      difference = {{"height", here}, {"here", block.hash.hex()}, {"there", at->second.hex()}};
    return {};
  });
  if (!read) return tl::unexpected(read.error());
  out["agree"] = difference.is_null();
  out["same_to"] = same;
  out["here"] = here;
  out["there"] = theirs.rbegin()->first;
  if (!difference.is_null()) out["first_difference"] = std::move(difference);
  return out;
}

// Proofs ---------------------------------------------------------------------------------------------------------

static Result<Checkpoint> parse_pin(std::string_view text) {
  Checkpoint out;
  const auto colon = text.find(':');
  const auto [end, error] = std::from_chars(text.data(), text.data() + std::min(colon, text.size()), out.height);
  const auto hash = colon == text.npos ? std::nullopt : from_hex(text.substr(colon + 1));
  const auto block = hash ? Hash::from(*hash) : std::nullopt;
  if (error != std::errc{} || end != text.data() + colon || !block)
    return fail(Errc::invalid,
                fmt::format("'{}' is no block: write HEIGHT:HASH, as `diot ledger tail` shows them", text));
  out.block = *block;
  return out;
}

/// From the handle's leaf up to the root, and from there to whom the checker trusts.
static std::string draw(const HandleProof& proof, const ProvedHandle& shown) {
  const auto brief = [](const Hash& hash) { return hash.is_zero() ? "(nothing)" : hash.hex().substr(0, 16) + "…"; };
  const auto key = sha256(as_bytes(proof.handle));
  std::string out = fmt::format("map root {}\n", brief(shown.map_root));
  for (std::size_t depth = 0; depth < proof.path.siblings.size(); ++depth) {
    const bool right = (key.bytes[depth / 8] >> (7 - depth % 8)) & 1;
    out += fmt::format("{:>3} {} beside {} {}\n", depth + 1, right ? "right" : "left ", right ? "left " : "right",
                       brief(proof.path.siblings[depth]));
  }
  if (!proof.record.empty())
    out += fmt::format("    └─ {}: record {}\n", proof.handle, brief(proof.path.end->value));
  else if (proof.path.end)
    out += fmt::format("    └─ another handle stands alone here: {}\n", brief(proof.path.end->key));
  else
    out += "    └─ nothing stands here\n";
  out += fmt::format("block {} {}\n", shown.block.height, brief(shown.block.block));
  out += fmt::format("    └─ decided by {} of {} witnesses\n", shown.votes, shown.witnesses);
  for (auto change = proof.changes.rbegin(); change != proof.changes.rend(); ++change)
    if (const auto header = decode_block_header(change->block.header))
      out += fmt::format("    └─ named by block {}, which {} witnesses before them decided\n", header->height,
                         change->block.votes.size());
  out += proof.pinned ? "    └─ named by the block that you trust\n" : "    └─ named by the genesis\n";
  return out;
}

Result<Json> check_proof_file(const Json& args) {
  const auto file = args.at("file").get<std::string>();
  const auto id = from_hex(args.at("genesis").get<std::string>());
  const auto network = id ? NetworkId::from(*id) : std::nullopt;
  if (!network)
    return fail(Errc::invalid, "--genesis takes the network's id, 64 hex digits: `diot status` shows it as network");
  std::optional<Checkpoint> pinned;
  if (args.contains("pin")) {
    auto pin = parse_pin(args["pin"].get_ref<const std::string&>());
    if (!pin) return tl::unexpected(pin.error());
    pinned = *pin;
  }
  const auto bytes = read_file(file, proof_file_bytes_max);
  if (!bytes) return tl::unexpected(bytes.error());
  const auto wrong = [&](const Error& error) { return fail(error.code, fmt::format("{}: {}", file, error.message)); };
  const auto proof = decode_proof(*bytes, *network);
  if (!proof) return wrong(proof.error());
  const auto shown = check_proof(*proof, *network, pinned);
  if (!shown) return wrong(shown.error());
  Json out{{"handle", proof->handle},
           {"registered", !proof->record.empty()},
           {"as_of_height", shown->block.height},
           {"as_of_block", shown->block.block.hex()},
           {"as_of_ms", shown->time},
           {"network", shown->network.hex()},
           {"witnesses", shown->witnesses},
           {"votes", shown->votes},
           {"bytes", bytes->size()}};
  if (!proof->record.empty()) {
    const auto record = decode_handle(proof->record);
    if (!record) return wrong(record.error());
    out.update(handle_answer(*record, false));
    out.erase("ours");
  }
  if (args.contains("anchor")) {
    const auto anchor = decode_anchor(args["anchor"].get<std::string>());
    if (!anchor) return tl::unexpected(anchor.error());
    const auto record = proof->record.empty() ? Result<HandleRecord>(HandleRecord{}) : decode_handle(proof->record);
    if (!record || record->profile != anchor_hash(*anchor))
      return fail(Errc::invalid, fmt::format("{}: that anchor does not stand in the record of @{} as of block {}", file,
                                             proof->handle, shown->block.height));
    out["anchored"] = {{"network", anchor->network.hex()},
                       {"height", anchor->block.height},
                       {"block", anchor->block.block.hex()},
                       {"time_ms", anchor->time}};
  }
  if (args.contains("tree")) out["tree"] = draw(*proof, *shown);
  return out;
}

}  // namespace diot
