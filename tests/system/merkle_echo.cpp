// The Merkle code for merkle.js: one command a line in, one line out. Hashes are hex, and SIZE counts the entries that were
// given so far from the first on.
//   entry HEX|-                          adds one                       ok
//   root SIZE, frontier SIZE             of the tree, either way        HASH
//   path INDEX SIZE, consistency OLD SIZE   the proof                   HASH …, or - for none
//   includes LEAF INDEX SIZE ROOT HASH …    whether the path leads there   yes or no
//   extends OLD OLD_ROOT SIZE ROOT HASH …   whether the proof shows it     yes or no
//   tiles FOLDER                         all entries as a public log    ok

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "core/ledger/tiles.hpp"
#include "core/merkle.hpp"

using namespace diot;

namespace {

std::vector<Bytes> entries;
std::vector<Hash> leaves;

Hash read_hash(std::istream& in) {
  std::string digits;
  in >> digits;
  return *Hash::from(from_hex(digits).value());
}
std::vector<Hash> read_hashes(std::istream& in) {
  std::vector<Hash> out;
  while (in >> std::ws && !in.eof()) out.push_back(read_hash(in));
  return out;
}
std::uint64_t read_number(std::istream& in) {
  std::uint64_t out = 0;
  in >> out;
  return out;
}
std::vector<Hash> first(std::uint64_t size) {
  return {leaves.begin(), leaves.begin() + static_cast<std::ptrdiff_t>(size)};
}
std::string told(const std::vector<Hash>& hashes) {
  std::string out;
  for (const auto& hash : hashes) out += (out.empty() ? "" : " ") + hash.hex();
  return out.empty() ? "-" : out;
}
std::string told(bool yes) { return yes ? "yes" : "no"; }

std::string answer(std::istream& in) {
  std::string command;
  in >> command;
  if (command == "entry") {
    std::string digits;
    in >> digits;
    entries.push_back(digits == "-" ? Bytes{} : from_hex(digits).value());
    leaves.push_back(merkle_leaf(entries.back()));
    return "ok";
  }
  if (command == "root") return MerkleTree(first(read_number(in))).root().hex();
  if (command == "frontier") return merkle_root(first(read_number(in))).hex();
  if (command == "path" || command == "consistency") {
    const auto at = read_number(in);
    const MerkleTree tree(first(read_number(in)));
    return told(command == "path" ? tree.path(at) : tree.consistency(at));
  }
  if (command == "includes") {
    const auto leaf = read_hash(in);
    const auto index = read_number(in), size = read_number(in);
    const auto root = read_hash(in);
    return told(merkle_root_from_path(leaf, index, size, read_hashes(in)) == root);
  }
  if (command == "extends") {
    const auto old_size = read_number(in);
    const auto old_root = read_hash(in);
    const auto size = read_number(in);
    const auto root = read_hash(in);
    return told(merkle_consistent(old_size, old_root, size, root, read_hashes(in)));
  }
  if (command == "tiles") {
    std::filesystem::path folder;
    in >> folder;
    TileWriter writer([&](const std::string& path, const Bytes& bytes) {
      std::filesystem::create_directories((folder / path).parent_path());
      std::ofstream(folder / path, std::ios::binary) << as_text(bytes);
    });
    for (const auto& entry : entries) writer.add(entry);
    writer.finish();
    return "ok";
  }
  return "error: no such command";
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::cout << answer(in) << "\n";
  }
}
