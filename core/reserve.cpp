#include "core/reserve.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace diot {

void Reserve::take() {
  if (held_) return;
  const int descriptor = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return;
  held_ = ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes_)) == 0;
  ::close(descriptor);
  if (!held_) ::unlink(file_.c_str());
}

void Reserve::give_up() {
  ::unlink(file_.c_str());
  held_ = false;
}

}  // namespace diot
