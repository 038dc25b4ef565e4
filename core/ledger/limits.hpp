#pragma once
// The bounds of the ledger. All but the last are rules of it (docs/protocol.md), the same at every node.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace diot::limits {

inline constexpr std::size_t entry_bytes_max = 32 << 10;         ///< 100 old and 100 new witnesses sign one …
inline constexpr std::size_t common_entry_bytes_max = 16 << 10;  ///< … and everything else is smaller
inline constexpr std::size_t block_entries_max = 1000;
inline constexpr std::size_t block_bytes_max = 1 << 20;
inline constexpr std::size_t genesis_bytes_max = 512 << 10;  ///< so that block 1 holds the founding entries
inline constexpr std::size_t witnesses_max = 100;
inline constexpr std::size_t solid_witnesses_min = 4;  ///< fewer do not survive the failure of one
inline constexpr std::size_t nodes_per_handle_max = 64;
inline constexpr std::size_t persons_per_handle_max = 64;
inline constexpr std::size_t guardians_per_handle_max = 16;
inline constexpr std::size_t revocations_per_handle_max = 64;  ///< the newest are kept
inline constexpr std::size_t cut_offs_per_entry_max = 100;     ///< a handle has at most 100 shares
inline constexpr std::size_t grant_bytes_max = 512;
inline constexpr std::uint32_t grant_uses_max = 1000;
inline constexpr std::size_t invite_text_bytes_max = 4 << 10;    ///< holds a grant and the most and longest addresses
inline constexpr std::size_t registrations_per_inviter_max = 5;  ///< so that one stolen node cannot fill the ledger …
inline constexpr auto registrations_window = std::chrono::hours(30 * 24);  ///< … within this block time
inline constexpr std::size_t changes_per_day_max = 32;    ///< of a handle, signed by its current key or a node …
inline constexpr std::size_t recoveries_per_day_max = 8;  ///< … and, apart from them, by next key or guardians
inline constexpr auto changes_window = std::chrono::hours(24);
inline constexpr std::size_t stamped_per_block_max = 50;                       ///< checking one takes about 35 ms
inline constexpr auto entry_checkpoint_age_max = std::chrono::hours(14 * 24);  ///< since a newer block followed it
inline constexpr auto witness_checkpoint_age_max = std::chrono::hours(1);      ///< likewise, for a witness-change
inline constexpr auto grant_checkpoint_age_max = std::chrono::hours(30 * 24);  ///< likewise, for the one an invite pins
inline constexpr std::uint32_t lease_days_max = 36'500;
inline constexpr auto grace_period = std::chrono::hours(30 * 24);   ///< from the end of a lease, or a release
inline constexpr auto recovery_delay = std::chrono::hours(72);      ///< in block time
inline constexpr auto succession_silence = std::chrono::hours(72);  ///< of the old witnesses
inline constexpr std::uint64_t wall_ms_max = (1ull << 48) - 1;      ///< what a HybridTime holds
inline constexpr std::size_t submitted_entries_max = 1000;          ///< waiting for the next block
inline constexpr std::size_t proof_changes_max = 100;               ///< of the witnesses, that one proof follows
inline constexpr std::size_t justifications_per_height_max = 16;    ///< changes of what the witnesses voted for …
inline constexpr std::uint64_t justified_heights_max = 1000;        ///< … are kept of the newest blocks

}  // namespace diot::limits
