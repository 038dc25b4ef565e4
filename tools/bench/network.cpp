#include "tools/bench/network.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace diot::bench {
namespace {

constexpr std::size_t read_bytes_min = 256 << 10;

auto system_error(const char* operation, const Client& client) {
  return fail(Errc::io, fmt::format("{} of {}: {}", operation, client.config().id, std::strerror(errno)));
}

}  // namespace

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

Result<Endpoint> resolve(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return fail(Errc::not_found, fmt::format("'{}': {}", host, ::gai_strerror(error)));
  }
  Endpoint out;
  std::memcpy(&out.address, found->ai_addr, found->ai_addrlen);
  out.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return out;
}

Network::Network(std::size_t packet_bytes_max)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), buffer_(std::max(read_bytes_min, 2 * packet_bytes_max)) {
  expect(epoll_ >= 0, "no epoll");
}

Network::~Network() { ::close(epoll_); }

Result<void> Network::open(Link& link, const Endpoint& to) {
  link.fd = ::socket(to.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (link.fd < 0) return system_error("socket", *link.client);
  ++open_count_;
  link.connecting = true;
  link.closing = link.ended = link.blocked = false;
  link.written = 0;
  link.unread.clear();
  const int on = 1;
  ::setsockopt(link.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const int begun = ::connect(link.fd, reinterpret_cast<const sockaddr*>(&to.address), to.size);
  if (begun < 0 && errno != EINPROGRESS) {
    auto failed = system_error("connect", *link.client);
    close(link);
    return failed;
  }
  epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.ptr = &link}};
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, link.fd, &event);
  return {};
}

void Network::finish(Link& link) {
  link.closing = true;
  mark(link);
}

void Network::ignore(Link& link) { ::epoll_ctl(epoll_, EPOLL_CTL_DEL, link.fd, nullptr); }

void Network::close(Link& link) {
  if (link.fd < 0) return;
  ::close(link.fd);
  link.fd = -1;
  --open_count_;
}

void Network::watch(Link& link, bool for_writing) {
  epoll_event event{.events = EPOLLIN | (for_writing ? std::uint32_t{EPOLLOUT} : 0), .data = {.ptr = &link}};
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, link.fd, &event);
}

void Network::mark(Link& link) {
  if (link.marked) return;
  link.marked = true;
  marked_.push_back(&link);
}

Result<void> Network::flush() {
  for (std::size_t i = 0; i < marked_.size(); ++i) {
    auto& link = *marked_[i];
    link.marked = false;
    if (link.fd < 0 || link.connecting || link.blocked) continue;
    if (auto done = write(link); !done) return done;
  }
  marked_.clear();
  return {};
}

Result<void> Network::write(Link& link) {
  auto& out = link.client->out;
  if (link.ended) out.clear();  // answers to what was still under way
  while (link.written < out.size()) {
    const auto sent = ::send(link.fd, out.data() + link.written, out.size() - link.written, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return system_error("send", *link.client);
      link.blocked = true;
      watch(link, true);
      if (link.written > out.size() / 2) {
        out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(link.written));
        link.written = 0;
      }
      return {};
    }
    link.written += static_cast<std::size_t>(sent);
  }
  out.clear();
  link.written = 0;
  if (link.closing && !link.ended) {
    link.ended = true;
    ::shutdown(link.fd, SHUT_WR);
  }
  return {};
}

Result<void> Network::connected(Link& link) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(link.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    errno = error;
    return system_error("connect", *link.client);
  }
  link.connecting = false;
  watch(link, false);
  link.client->start();
  mark(link);
  return {};
}

Result<void> Network::read(Link& link) {
  const auto kept = link.unread.size();
  if (kept == buffer_.size()) return fail(Errc::limit, "the server sent a packet larger than any that was published");
  std::ranges::copy(link.unread, buffer_.begin());
  const auto got = ::recv(link.fd, buffer_.data() + kept, buffer_.size() - kept, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (got <= 0 && link.closing) {
    close(link);
    return {};
  }
  if (got < 0) return system_error("recv", *link.client);
  if (got == 0) return fail(Errc::io, fmt::format("the server closed the connection of {}", link.client->config().id));
  read_at_ = now_ns();
  const ByteView bytes(buffer_.data(), kept + static_cast<std::size_t>(got));
  const auto taken = link.client->received(bytes);
  if (!taken) return tl::unexpected(taken.error());
  const auto rest = bytes.subspan(*taken);
  link.unread.assign(rest.begin(), rest.end());
  if (!link.client->out.empty()) mark(link);
  return {};
}

Result<void> Network::turn(std::uint64_t timeout_ns) {
  std::array<epoll_event, 256> events;
  const timespec timeout{.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000),
                         .tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000)};
  const int count = ::epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &timeout, nullptr);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    auto& link = *static_cast<Link*>(event.data.ptr);
    if (link.fd < 0) continue;
    if (link.connecting) {
      if (auto done = connected(link); !done) return done;
      continue;
    }
    if (event.events & EPOLLOUT) {
      link.blocked = false;
      watch(link, false);
      mark(link);
    }
    if (event.events & ~std::uint32_t{EPOLLOUT}) {
      if (auto done = read(link); !done) return done;
    }
  }
  return {};
}

}  // namespace diot::bench
