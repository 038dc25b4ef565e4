#include "core/wal_mark.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "core/crypto.hpp"

namespace diot {

// The file format of the WAL: https://www.sqlite.org/fileformat2.html#walformat
static constexpr std::size_t wal_header_bytes = 32, wal_frame_header_bytes = 24;

std::optional<std::array<std::uint8_t, 8>> wal_salt(const std::filesystem::path& wal) {
  std::ifstream in(wal, std::ios::binary);
  std::array<std::uint8_t, 8> out{};
  if (!in.seekg(16) || !in.read(reinterpret_cast<char*>(out.data()), out.size())) return std::nullopt;
  return out;
}

std::uint64_t wal_commits(const std::filesystem::path& wal, std::uint32_t frames) {
  std::ifstream in(wal, std::ios::binary);
  Bytes header(wal_header_bytes);
  if (!in.read(reinterpret_cast<char*>(header.data()), wal_header_bytes)) return 0;
  ByteReader reader(ByteView(header).subspan(8));
  const std::size_t page_bytes = reader.u32();
  std::uint64_t commits = 0;
  for (std::uint32_t frame = 0; frame < frames; ++frame) {
    const auto at = wal_header_bytes + frame * (wal_frame_header_bytes + page_bytes);
    if (!in.seekg(static_cast<std::streamoff>(at)) || !in.read(reinterpret_cast<char*>(header.data()), 8)) break;
    ByteReader start(ByteView(header).first(8));
    start.u32();                  // the page's number
    commits += start.u32() != 0;  // the database's size, only in the last frame of a transaction
  }
  return commits;
}

// salt (8) ‖ frames (4) ‖ commits (8) ‖ first half of BLAKE2b-256 over these (16)
static constexpr std::size_t mark_bytes = 20, sum_bytes = 16;

static Bytes encode(const WalExtent& extent) {
  Bytes out;
  ByteWriter to(out);
  to.raw(extent.salt);
  to.u32(extent.frames);
  to.u64(extent.commits);
  to.raw(blake2b(out).view().first(sum_bytes));
  return out;
}

Result<WalMark> WalMark::open(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0)
    return fail(Errc::io, fmt::format("cannot open {}: {}", file.string(), std::system_category().message(errno)));
  return WalMark(descriptor);
}
WalMark::WalMark(WalMark&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
WalMark::~WalMark() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::optional<WalExtent> WalMark::read() const {
  Bytes bytes(mark_bytes + sum_bytes);
  if (::pread(descriptor_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  WalExtent out;
  ByteReader in(bytes);
  std::ranges::copy(in.raw(out.salt.size()), out.salt.begin());
  out.frames = in.u32();
  out.commits = in.u64();
  if (out.frames == 0 || encode(out) != bytes) return std::nullopt;
  return out;
}

void WalMark::write(const WalExtent& extent) {
  const Bytes bytes = encode(extent);
  static_cast<void>(::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == 0);
}

bool WalMark::clear() {
  const Bytes bytes = encode({});
  return ::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()) &&
         ::fdatasync(descriptor_) == 0;
}

}  // namespace diot
