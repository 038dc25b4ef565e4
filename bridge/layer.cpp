#include "bridge/layer.hpp"

namespace diot {

/// A layer starts when those below it are established: TLS's first words follow the PROXY header, and so on.
Result<void> LayerStack::start(Bytes& down) {
  while (started_ < layers_.size() && (started_ == 0 || layers_[started_ - 1]->established())) {
    Bytes first;
    if (auto begun = layers_[started_]->start(first); !begun) return begun;
    if (auto sent = send_from(started_++, first, down); !sent) return sent;
  }
  return {};
}

Result<void> LayerStack::receive_at(std::size_t at, ByteView in, Bytes& up, Bytes& down) {
  if (at == layers_.size()) {
    append(up, in);
    return {};
  }
  const bool last = at + 1 == layers_.size();
  Bytes between, answer;
  Bytes& above = last ? up : between;
  auto taken = layers_[at]->receive(in, above, answer);
  if (auto sent = send_from(at, answer, down); !sent) return sent;
  if (auto begun = start(down); !begun) return begun;
  // Also what came before a violation counts.
  if (!last && !between.empty())
    if (auto passed = receive_at(at + 1, between, up, down); !passed) return passed;
  return taken;
}

Result<void> LayerStack::send_from(std::size_t above, ByteView in, Bytes& down) {
  if (in.empty()) return {};
  if (above == 0) {
    append(down, in);
    return {};
  }
  if (above == 1) return layers_[0]->send(in, down);
  Bytes wrapped;
  if (auto sent = layers_[above - 1]->send(in, wrapped); !sent) return sent;
  return send_from(above - 1, wrapped, down);
}

void LayerStack::close(Bytes& down) {
  for (std::size_t at = layers_.size(); at-- > 0;) {
    Bytes last;
    layers_[at]->close(last);
    if (!send_from(at, last, down)) return;
  }
}

bool LayerStack::established() const { return layers_.empty() || layers_.back()->established(); }

std::string LayerStack::user() const {
  for (const auto& layer : layers_)
    if (auto user = layer->user(); !user.empty()) return user;
  return {};
}

std::string LayerStack::key_identity() const {
  for (const auto& layer : layers_)
    if (auto identity = layer->key_identity(); !identity.empty()) return identity;
  return {};
}

std::string LayerStack::address() const {
  for (const auto& layer : layers_)
    if (auto address = layer->address(); !address.empty()) return address;
  return {};
}

}  // namespace diot
