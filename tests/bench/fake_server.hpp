#pragma once
// An MQTT 3.1.1 and 5 server that does what a test tells it to do wrong. It gives every PUBLISH to every subscriber.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "core/bytes.hpp"

namespace diot::bench::test {

class FakeServer {
 public:
  /// What becomes of message number n (from 0): the payloads that each subscriber gets, in order.
  using Fate = std::function<std::vector<Bytes>(std::uint64_t n, Bytes payload)>;

  explicit FakeServer(Fate fate, bool acknowledges = true) : fate_(std::move(fate)), acknowledges_(acknowledges) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_, 16);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~FakeServer() {
    stop_ = true;
    thread_.join();
    for (const auto& [fd, peer] : peers_) ::close(fd);
    ::close(listener_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::uint16_t port() const { return port_; }

 private:
  struct Peer {
    bool v5 = false;
    bool subscribed = false;
    std::uint8_t qos = 0;
    std::uint16_t next_id = 1;
    Bytes in;
  };

  void run() {
    while (!stop_) {
      std::vector<pollfd> waits{{listener_, POLLIN, 0}};
      for (const auto& [fd, peer] : peers_) waits.push_back({fd, POLLIN, 0});
      ::poll(waits.data(), waits.size(), 20);
      if (waits[0].revents & POLLIN) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peers_[fd];
      }
      for (std::size_t i = 1; i < waits.size(); ++i) {
        if (waits[i].revents == 0 || read(waits[i].fd)) continue;
        ::close(waits[i].fd);
        peers_.erase(waits[i].fd);
      }
    }
  }

  bool read(int fd) {
    Bytes chunk(65536);
    const auto got = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (got <= 0) return false;
    auto& peer = peers_[fd];
    append(peer.in, ByteView(chunk).first(static_cast<std::size_t>(got)));
    for (;;) {
      std::size_t position = 1, size = 0;
      int shift = 0;
      bool complete = false;
      while (position < peer.in.size() && !complete) {
        size |= static_cast<std::size_t>(peer.in[position] & 0x7f) << shift;
        shift += 7;
        complete = (peer.in[position++] & 0x80) == 0;
      }
      if (!complete || peer.in.size() - position < size) return true;
      const auto first = peer.in[0];
      const Bytes body(peer.in.begin() + static_cast<std::ptrdiff_t>(position),
                       peer.in.begin() + static_cast<std::ptrdiff_t>(position + size));
      peer.in.erase(peer.in.begin(), peer.in.begin() + static_cast<std::ptrdiff_t>(position + size));
      packet(fd, peer, first, body);
    }
  }

  void packet(int fd, Peer& peer, std::uint8_t first, const Bytes& body) {
    ByteReader reader(body);
    switch (first >> 4) {
      case 1:
        reader.raw(reader.u16());
        peer.v5 = reader.u8() == 5;
        // A Receive Maximum of 7 for MQTT 5.
        send(fd, peer.v5 ? Bytes{0x20, 6, 0, 0, 3, 33, 0, 7} : Bytes{0x20, 2, 0, 0});
        break;
      case 8:
        peer.subscribed = true;
        peer.qos = body.back();
        send(fd, peer.v5 ? Bytes{0x90, 4, body[0], body[1], 0, peer.qos} : Bytes{0x90, 3, body[0], body[1], peer.qos});
        break;
      case 3: {
        reader.raw(reader.u16());
        const int qos = first >> 1 & 3;
        const auto packet_id = qos > 0 ? reader.u16() : std::uint16_t{0};
        if (peer.v5) reader.u8();
        if (qos > 0 && acknowledges_) answer(fd, qos == 1 ? 0x40 : 0x50, packet_id);
        for (const auto& payload : fate_(messages_++, to_bytes(reader.rest()))) deliver(payload);
        break;
      }
      case 5: answer(fd, 0x62, reader.u16()); break;
      case 6: answer(fd, 0x70, reader.u16()); break;
      default: break;
    }
  }

  void deliver(const Bytes& payload) {
    for (auto& [fd, peer] : peers_) {
      if (!peer.subscribed) continue;
      Bytes body{0, 1, 't'};
      if (peer.qos > 0) ByteWriter(body).u16(peer.next_id++);
      if (peer.v5) body.push_back(0);
      append(body, payload);
      // Up to 16383 bytes: a length of two bytes, which need not be the shortest here.
      Bytes out{static_cast<std::uint8_t>(0x30 | peer.qos << 1), static_cast<std::uint8_t>(0x80 | (body.size() & 0x7f)),
                static_cast<std::uint8_t>(body.size() >> 7)};
      append(out, body);
      send(fd, out);
    }
  }

  static void answer(int fd, std::uint8_t first, std::uint16_t packet_id) {
    send(fd, {first, 2, static_cast<std::uint8_t>(packet_id >> 8), static_cast<std::uint8_t>(packet_id)});
  }
  static void send(int fd, const Bytes& bytes) { ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL); }

  Fate fate_;
  bool acknowledges_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::uint64_t messages_ = 0;
  std::map<int, Peer> peers_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace diot::bench::test
