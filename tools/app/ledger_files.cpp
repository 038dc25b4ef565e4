#include "tools/app/ledger_files.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/storage.hpp"
#include "core/ledger/tiles.hpp"
#include "tools/app/ledger_query.hpp"

namespace diot {
namespace {

constexpr auto any_height = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t export_line_bytes_max = 4 << 20;  // a block of 1 MiB in base64, with its entries' lines

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
    if (block.header.height != next) missing = not_on_disk({next, block.header.height - 1});
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
    if (block.header.height != next) return tl::unexpected(not_on_disk({next, block.header.height - 1}));
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

}  // namespace diot
