#pragma once
// Notices when committed transactions vanish from SQLite's write-ahead log. SQLite takes a frame with a wrong checksum
// for the log's end (one flipped bit silently drops every later transaction), so the log's length is kept outside it.

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

/// A stretch of one generation of the WAL. SQLite draws a new salt each time it begins the log anew.
struct WalExtent {
  std::array<std::uint8_t, 8> salt{};
  std::uint32_t frames = 0;
  std::uint64_t commits = 0;  ///< transactions in those frames
};

/// The salt in the header of a WAL file; nullopt if it is missing or empty.
std::optional<std::array<std::uint8_t, 8>> wal_salt(const std::filesystem::path& wal);
/// How many transactions end in the first `frames` frames of a WAL file.
std::uint64_t wal_commits(const std::filesystem::path& wal, std::uint32_t frames);

/// The file that says how far the WAL must reach. It must never claim too much, and a claim that is too small only
/// notices less: so it is written after each commit without a sync of its own (it survives a crash of the process, and
/// what the kernel has written out of it a power cut), and cleared, synced, before the log is set back.
class WalMark {
 public:
  static Result<WalMark> open(const std::filesystem::path& file);
  WalMark(WalMark&& other) noexcept;
  WalMark& operator=(WalMark&&) = delete;
  ~WalMark();

  /// nullopt: it claims nothing, or it is damaged itself.
  std::optional<WalExtent> read() const;
  /// A failure (full disk) is ignored: the older claim stands.
  void write(const WalExtent& extent);
  /// Claims nothing from now on. False if that is not certain to be on disk: then the log must not be set back.
  bool clear();

 private:
  explicit WalMark(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace diot
