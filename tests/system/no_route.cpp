// A network in which some hosts cannot reach each other, for tests/system/reach_test.py, with no privileges: loaded by
// LD_PRELOAD into a program it answers as the kernel does where there is no route, for every connection and datagram to one
// of the loopback ports that DIOT_NO_ROUTE lists ("41001 41002").

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <sstream>
#include <string>

namespace {

bool has_route_to(const sockaddr* to) {
  if (to == nullptr) return true;  // of a connected socket
  in_port_t port = 0;
  if (to->sa_family == AF_INET) port = ntohs(reinterpret_cast<const sockaddr_in*>(to)->sin_port);
  if (to->sa_family == AF_INET6) port = ntohs(reinterpret_cast<const sockaddr_in6*>(to)->sin6_port);
  const char* listed = std::getenv("DIOT_NO_ROUTE");
  std::istringstream ports(listed != nullptr ? listed : "");
  for (in_port_t each = 0; ports >> each;)
    if (each == port) return false;
  return true;
}

template <class Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int refuse() {
  errno = ENETUNREACH;
  return -1;
}

}  // namespace

extern "C" {

int connect(int socket, const sockaddr* to, socklen_t size) {
  return has_route_to(to) ? next(&connect, "connect")(socket, to, size) : refuse();
}

ssize_t sendto(int socket, const void* bytes, size_t count, int flags, const sockaddr* to, socklen_t size) {
  return has_route_to(to) ? next(&sendto, "sendto")(socket, bytes, count, flags, to, size) : refuse();
}

ssize_t sendmsg(int socket, const msghdr* message, int flags) {
  const auto* to = static_cast<const sockaddr*>(message->msg_name);
  return has_route_to(to) ? next(&sendmsg, "sendmsg")(socket, message, flags) : refuse();
}
}
