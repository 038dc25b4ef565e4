#include "core/ledger/note.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <charconv>

#include "core/ledger/limits.hpp"
#include "core/text.hpp"

namespace diot {

static constexpr std::string_view dash = "\u2014 ";
static constexpr std::size_t note_bytes_max = 1 << 20;
static constexpr std::size_t key_id_bytes = 4, time_bytes = 8;

std::string log_origin(const NetworkId& network) { return "diot/" + network.hex(); }
std::string witness_name(const NetworkId& network, const PublicKey& witness) {
  return log_origin(network) + "/" + witness.hex().substr(0, 16);
}

std::string checkpoint_text(const LogCheckpoint& checkpoint) {
  return fmt::format("{}\n{}\n{}\n", checkpoint.origin, checkpoint.size, to_base64(checkpoint.root));
}

Result<LogCheckpoint> parse_checkpoint_text(std::string_view text) {
  LogCheckpoint out;
  out.origin = take_until(text, '\n');
  const auto size = take_until(text, '\n');
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), out.size);
  const auto root = from_base64(take_until(text, '\n')).value_or(Bytes{});
  const auto hash = Hash::from(root);
  if (out.origin.empty() || error != std::errc{} || end != size.data() + size.size() ||
      (size.size() > 1 && size[0] == '0') || !hash)
    return fail(Errc::invalid, "not a checkpoint: it has an origin, a size and a root hash, in a line each");
  out.root = *hash;
  return out;
}

// Signatures -----------------------------------------------------------------------------------------------------

std::array<std::uint8_t, 4> NoteKey::id() const {
  const std::array<std::uint8_t, 2> between{'\n', static_cast<std::uint8_t>(type)};
  const auto hash = sha256({as_bytes(name), between, key});
  std::array<std::uint8_t, 4> out;
  std::copy_n(hash.bytes.begin(), out.size(), out.begin());
  return out;
}

std::string NoteKey::text() const {
  Bytes bytes{static_cast<std::uint8_t>(type)};
  append(bytes, key);
  return fmt::format("{}+{}+{}", name, to_hex(id()), to_base64(bytes));
}

/// What a cosignature signs. Its first line keeps it apart from everything that the same key signs elsewhere.
static std::string cosigned(std::string_view text, std::uint64_t seconds) {
  return fmt::format("cosignature/v1\ntime {}\n{}", seconds, text);
}

std::string sign_note(std::string_view text, const NoteKey& as, const KeyPair& key, WallMs when) {
  Bytes line = to_bytes(ByteView(as.id()));
  std::string message(text);
  if (as.type == NoteKeyType::cosignature) {
    const std::uint64_t seconds = when / 1000;
    ByteWriter(line).u64(seconds);
    message = cosigned(text, seconds);
  }
  // Not KeyPair::sign, which would put our own domain in front.
  std::array<std::uint8_t, crypto_sign_PUBLICKEYBYTES> ignored;
  std::array<std::uint8_t, crypto_sign_SECRETKEYBYTES> secret;
  crypto_sign_seed_keypair(ignored.data(), secret.data(), key.seed().bytes.data());
  Signature signature;
  crypto_sign_detached(signature.bytes.data(), nullptr, as_bytes(message).data(), message.size(), secret.data());
  sodium_memzero(secret.data(), secret.size());
  append(line, signature);
  return fmt::format("{}{} {}\n", dash, as.name, to_base64(line));
}

std::string make_note(std::string_view text, const std::vector<std::string>& signature_lines) {
  std::string out(text);
  out += '\n';
  for (const auto& line : signature_lines) out += line;
  return out;
}

static bool verify_plain(const PublicKey& key, ByteView signature, std::string_view message) {
  return signature.size() == crypto_sign_BYTES &&
         crypto_sign_verify_detached(signature.data(), as_bytes(message).data(), message.size(), key.bytes.data()) == 0;
}

Result<OpenedNote> open_note(std::string_view note, const std::vector<NoteKey>& keys) {
  const auto wrong = [](std::string_view why) {
    return fail(Errc::invalid, fmt::format("not a signed note: {}", why));
  };
  if (note.size() > note_bytes_max) return fail(Errc::limit, "a signed note of over 1 MiB");
  if (std::ranges::any_of(note, [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\n'; }))
    return wrong("it holds a control character");
  const auto blank = note.rfind("\n\n");
  if (blank == note.npos || !note.ends_with('\n')) return wrong("it has no signatures behind a blank line");
  OpenedNote out;
  out.text = note.substr(0, blank + 1);
  for (auto rest = note.substr(blank + 2); !rest.empty();) {
    const auto line = take_until(rest, '\n');
    const auto space = line.starts_with(dash) ? line.find(' ', dash.size()) : line.npos;
    if (space == line.npos) return wrong("one of its signature lines is not in the form of one");
    const auto name = line.substr(dash.size(), space - dash.size());
    const auto bytes = from_base64(line.substr(space + 1));
    if (!bytes || bytes->size() < key_id_bytes || name.empty()) return wrong("a signature is not in base64");
    const auto known = std::ranges::find_if(keys, [&](const NoteKey& key) {
      return key.name == name && equal(key.id(), ByteView(*bytes).first(key_id_bytes));
    });
    if (known == keys.end()) continue;
    auto signature = ByteView(*bytes).subspan(key_id_bytes);
    OpenedNote::Signed by{*known, 0};
    std::string message = out.text;
    if (known->type == NoteKeyType::cosignature && signature.size() > time_bytes) {
      ByteReader in(signature);
      const auto seconds = in.u64();
      by.when = std::min(seconds, limits::wall_ms_max / 1000) * 1000;
      message = cosigned(out.text, seconds);
      signature = signature.subspan(time_bytes);
    }
    if (!verify_plain(known->key, signature, message)) return wrong(fmt::format("the signature of {} is wrong", name));
    out.by.push_back(std::move(by));
  }
  if (out.by.empty()) return wrong("none of the keys that are known has signed it");
  return out;
}

}  // namespace diot
