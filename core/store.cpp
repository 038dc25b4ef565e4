#include "core/store.hpp"

namespace diot {

Bytes after_prefix(ByteView prefix) {
  Bytes out = to_bytes(prefix);
  while (!out.empty() && out.back() == 0xff) out.pop_back();
  if (!out.empty()) ++out.back();
  return out;
}

std::string_view name_of(Table table) {
  switch (table) {
    case Table::meta: return "meta";
    case Table::block: return "block";
    case Table::share: return "share";
    case Table::peer: return "peer";
    case Table::log: return "log";
    case Table::cursor: return "cursor";
    case Table::retained: return "retained";
    case Table::session: return "session";
    case Table::queue: return "queue";
    case Table::spool: return "spool";
    case Table::inflight: return "inflight";
    case Table::count_: break;
  }
  expect(false, "an unknown table");
  return {};
}

}  // namespace diot
