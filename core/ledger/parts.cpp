#include "core/ledger/parts.hpp"

#include <limits>

#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

// The numbers of a question and of its answer.
enum : std::uint8_t { headers_part = 1, state_part, log_part, blocks_part, holdings_part };

namespace {

constexpr std::size_t values_max = 128 << 10;

Bytes packed(std::uint8_t kind, std::size_t elements, const auto& write) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(1 + elements);
  out.uint(kind);
  write(out);
  return bytes;
}

/// The bits of the prefix behind its depth are zero.
SparsePlace read_place(PackReader& in, bool& good) {
  SparsePlace out;
  const auto prefix = in.id<Hash>();
  out.depth = static_cast<std::uint32_t>(in.uint(256));
  for (std::uint32_t at = 0; at < out.depth; ++at)
    out.prefix.bytes[at / 8] |= static_cast<std::uint8_t>(prefix.bytes[at / 8] & 0x80 >> at % 8);
  good = good && out.prefix == prefix;
  return out;
}

/// [how many, kinds (bin), hashes (bin)]: most subtrees of a small map are empty.
void write_below(PackWriter& out, const StatePart::Below& below) {
  Bytes kinds, hashes;
  for (const auto& subtree : below) {
    kinds.push_back(static_cast<std::uint8_t>(subtree.kind));
    if (subtree.kind != SparseSubtree::Kind::empty) append(hashes, subtree.hash);
  }
  out.array(2);
  out.bin(kinds);
  out.bin(hashes);
}
StatePart::Below read_below(PackReader& in, bool& good) {
  StatePart::Below out;
  in.array_of(2);
  const auto kinds = in.bin(1 << part_levels);
  auto hashes = in.bin((1 << part_levels) * Hash::size);
  good = good && kinds.size() == 1 << part_levels;
  for (const auto kind : kinds) {
    auto& subtree = out.emplace_back();
    if (kind == 0) continue;
    if (kind > 2 || hashes.size() < Hash::size) return good = false, out;
    subtree = {static_cast<SparseSubtree::Kind>(kind), *Hash::from(hashes.first(Hash::size))};
    hashes = hashes.subspan(Hash::size);
  }
  good = good && hashes.empty();
  return out;
}

}  // namespace

Bytes encode_ask(const LedgerAsk& ask) {
  struct Encode {
    Bytes operator()(const HeadersAsk& headers) const {
      return packed(headers_part, 1, [&](PackWriter& out) { out.uint(headers.from); });
    }
    Bytes operator()(const StateAsk& state) const {
      return packed(state_part, 1, [&](PackWriter& out) {
        out.array(state.places.size());
        for (const auto& at : state.places) {
          out.array(3);
          out.bin(at.place.prefix);
          out.uint(at.place.depth);
          out.bin(at.hash);
        }
      });
    }
    Bytes operator()(const LogAsk& log) const {
      return packed(log_part, 2, [&](PackWriter& out) {
        out.uint(log.entries);
        out.uint(log.from);
      });
    }
    Bytes operator()(const BlocksAsk& blocks) const {
      return packed(blocks_part, 1, [&](PackWriter& out) { out.uint(blocks.from); });
    }
    Bytes operator()(const HoldingsAsk&) const {
      return packed(holdings_part, 0, [](PackWriter&) {});
    }
  };
  return std::visit(Encode{}, ask);
}

std::optional<LedgerAsk> decode_ask(ByteView bytes) {
  PackReader in(bytes, 128);
  const auto elements = in.array(3);
  const auto kind = in.uint(holdings_part);
  if (!in.ok() || elements != (kind == log_part ? 3u : kind == holdings_part ? 1u : 2u)) return std::nullopt;
  LedgerAsk out;
  bool good = true;
  if (kind == headers_part) {
    out = HeadersAsk{in.uint()};
  } else if (kind == state_part) {
    StateAsk state;
    for (auto left = in.array(limits::places_per_ask_max); left > 0 && in.ok(); --left) {
      in.array_of(3);
      auto& at = state.places.emplace_back();
      at.place = read_place(in, good);
      at.hash = in.id<Hash>();
    }
    good = good && !state.places.empty();
    out = std::move(state);
  } else if (kind == log_part) {
    LogAsk log;
    log.entries = in.uint();
    log.from = in.uint();
    out = log;
  } else if (kind == blocks_part) {
    out = BlocksAsk{in.uint()};
  } else if (kind == holdings_part) {
    out = HoldingsAsk{};
  } else {
    return std::nullopt;
  }
  if (!in.done() || !good) return std::nullopt;
  return out;
}

Bytes encode_part(const LedgerPart& part) {
  struct Encode {
    Bytes operator()(const HeadersPart& headers) const {
      return packed(headers_part, 2, [&](PackWriter& out) {
        out.uint(headers.more);
        out.array(headers.links.size());
        for (const auto& link : headers.links) out.bin(encode_link(link));
      });
    }
    Bytes operator()(const StatePart& state) const {
      return packed(state_part, 1, [&](PackWriter& out) {
        out.array(state.places.size());
        for (const auto& place : state.places) {
          out.array(2);
          out.uint(place.index());
          if (const auto* below = std::get_if<StatePart::Below>(&place)) {
            write_below(out, *below);
          } else if (const auto* records = std::get_if<StatePart::Records>(&place)) {
            out.array(records->size());
            for (const auto& record : *records) write_record(out, record);
          } else {
            out.nil();
          }
        }
      });
    }
    Bytes operator()(const LogPart& log) const {
      Bytes hashes;
      for (const auto& hash : log.hashes) append(hashes, hash);
      return packed(log_part, 1, [&](PackWriter& out) { out.bin(hashes); });
    }
    Bytes operator()(const BlocksPart& blocks) const {
      return packed(blocks_part, 1, [&](PackWriter& out) { write_block_entries(out, blocks.blocks); });
    }
    Bytes operator()(const HoldingsPart& holdings) const {
      return packed(holdings_part, 1, [&](PackWriter& out) {
        out.array(holdings.blocks.size());
        for (const auto& range : holdings.blocks) {
          out.array(2);
          out.uint(range.from);
          out.uint(range.to);
        }
      });
    }
  };
  return std::visit(Encode{}, part);
}

std::optional<LedgerPart> decode_part(ByteView bytes) {
  PackReader in(bytes, values_max);
  const auto elements = in.array(3);
  const auto kind = in.uint(holdings_part);
  if (!in.ok() || elements != (kind == headers_part ? 3u : 2u)) return std::nullopt;
  LedgerPart out;
  bool good = true;
  if (kind == headers_part) {
    HeadersPart headers;
    headers.more = in.uint(1) == 1;
    for (auto left = in.array(limits::links_per_part_max); left > 0 && in.ok(); --left) {
      auto link = decode_link(in.bin(link_bytes_max));
      if (!link) return std::nullopt;
      headers.links.push_back(std::move(*link));
    }
    out = std::move(headers);
  } else if (kind == state_part) {
    StatePart state;
    for (auto left = in.array(limits::places_per_ask_max); left > 0 && in.ok() && good; --left) {
      in.array_of(2);
      const auto what = in.uint(2);
      if (what == 0) {
        good = in.nil();
        state.places.emplace_back(StatePart::Gone{});
      } else if (what == 1) {
        state.places.emplace_back(read_below(in, good));
      } else {
        StatePart::Records records;
        for (auto count = in.array(limits::records_per_place_max); count > 0 && in.ok(); --count)
          records.push_back(read_record(in));
        state.places.emplace_back(std::move(records));
      }
    }
    good = good && !state.places.empty();
    out = std::move(state);
  } else if (kind == log_part) {
    LogPart log;
    const auto hashes = in.bin(limits::hashes_per_part_max * Hash::size);
    good = hashes.size() % Hash::size == 0;
    for (std::size_t at = 0; at + Hash::size <= hashes.size(); at += Hash::size)
      log.hashes.push_back(*Hash::from(hashes.subspan(at, Hash::size)));
    out = std::move(log);
  } else if (kind == blocks_part) {
    BlocksPart blocks;
    for (auto left = in.array(limits::block_entries_max); left > 0 && in.ok(); --left)
      blocks.blocks.push_back(to_bytes(in.bin(limits::block_bytes_max)));
    out = std::move(blocks);
  } else if (kind == holdings_part) {
    HoldingsPart holdings;
    std::uint64_t least = 1;
    for (auto left = in.array(limits::ranges_per_part_max); left > 0 && in.ok() && good; --left) {
      in.array_of(2);
      const auto& range = holdings.blocks.emplace_back(BlockRange{in.uint(), in.uint()});
      good = range.from >= least && range.to >= range.from && range.to < std::numeric_limits<std::uint64_t>::max() - 1;
      least = range.to + 2;
    }
    out = std::move(holdings);
  } else {
    return std::nullopt;
  }
  if (!in.done() || !good) return std::nullopt;
  return out;
}

}  // namespace diot
