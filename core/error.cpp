#include "core/error.hpp"

namespace diot {

std::string_view name_of(Errc code) {
  switch (code) {
    case Errc::invalid: return "invalid";
    case Errc::not_found: return "not found";
    case Errc::exists: return "exists";
    case Errc::not_permitted: return "not permitted";
    case Errc::not_available: return "not available yet";
    case Errc::limit: return "limit";
    case Errc::corrupt: return "corrupt";
    case Errc::io: return "io";
    case Errc::timed_out: return "timed out";
    case Errc::not_running: return "not running";
  }
  return "unknown";
}

}  // namespace diot
