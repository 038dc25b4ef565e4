#include "core/ledger/verify.hpp"

#include <fmt/format.h>

#include "core/ledger/ledger.hpp"

namespace diot {

Result<VerifyReport> verify_chain(ByteView genesis, const BlockSource& next, const std::optional<Checkpoint>& pinned) {
  auto ledger = Ledger::from_genesis(genesis);
  if (!ledger) return tl::unexpected(ledger.error());
  for (;;) {
    const auto block = next();
    if (!block)
      return fail(block.error().code,
                  fmt::format("block {} cannot be read: {}", ledger->head().height + 1, block.error().message));
    if (!*block) break;
    if (auto appended = ledger->append(**block); !appended) return tl::unexpected(appended.error());
  }
  if (pinned && ledger->block_at(pinned->height) != pinned->block)
    return fail(Errc::corrupt, pinned->height > ledger->head().height
                                   ? fmt::format("the chain ends at block {}, and block {} is known to exist",
                                                 ledger->head().height, pinned->height)
                                   : fmt::format("block {} is another than the one that is known", pinned->height));
  return VerifyReport{ledger->network(),     ledger->head(),           ledger->head_time(), ledger->head().height,
                      ledger->entry_count(), ledger->handles().size(), ledger->log_root(),  ledger->map_root()};
}

}  // namespace diot
