#pragma once
// The worked examples of docs/protocol.md: fenced blocks that begin with ```vector NAME and hold lines "key = value". A
// long value stands on indented lines below its key.

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>

#include "core/bytes.hpp"

namespace diot::testing {

class Vector {
 public:
  /// Throws if the page has no such example, so that its test fails.
  explicit Vector(const std::string& name) : name_(name) {
    std::ifstream page(DIOT_SOURCE_DIR "/docs/protocol.md");
    std::string line, key;
    bool inside = false, found = false;
    while (std::getline(page, line)) {
      if (!inside) {
        found = inside = line == "```vector " + name;
      } else if (line.starts_with("```")) {
        break;
      } else if (line.starts_with(" ")) {
        values_[key] += line.substr(line.find_first_not_of(' '));
      } else if (const auto equals = line.find(" ="); equals != line.npos) {
        key = line.substr(0, equals);
        values_[key] = equals + 3 <= line.size() ? line.substr(equals + 3) : "";
      }
    }
    if (!found) throw std::runtime_error("docs/protocol.md has no vector " + name);
  }

  const std::string& text(const std::string& key) const {
    const auto value = values_.find(key);
    if (value == values_.end()) throw std::runtime_error("vector " + name_ + " has no '" + key + "'");
    return value->second;
  }
  std::uint64_t number(const std::string& key) const { return std::stoull(text(key)); }
  Bytes bytes(const std::string& key) const { return from_hex(text(key)).value(); }
  template <class Id>
  Id id(const std::string& key) const {
    return Id::from(bytes(key)).value();
  }

 private:
  std::string name_;
  std::map<std::string, std::string> values_;
};

}  // namespace diot::testing
