#include "bridge/text_file.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace diot {

Result<std::string> read_text_file(const std::string& file, std::size_t bytes_max) {
  const auto failed = [&] { return fail(Errc::io, fmt::format("cannot read {}: {}", file, std::strerror(errno))); };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "re"), std::fclose);
  if (!stream) return failed();
  std::string text(bytes_max + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), stream.get()));
  if (std::ferror(stream.get())) return failed();
  if (text.size() > bytes_max) return fail(Errc::limit, fmt::format("{} is larger than {} bytes", file, bytes_max));
  return text;
}

}  // namespace diot
