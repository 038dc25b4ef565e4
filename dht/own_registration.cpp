#include "dht/own_registration.hpp"

#include <algorithm>

#include "core/ledger/provisional.hpp"

namespace diot {

namespace {

// It takes part of a minute until nobody is left to ask.
constexpr auto pause_min = std::chrono::seconds(30);
constexpr auto pause_max = std::chrono::seconds(3600);

}  // namespace

Result<void> OwnRegistration::load() {
  const auto row = context_.store.get(Table::meta, meta_registration());
  if (!row) return tl::unexpected(row.error());
  if (!*row) return {};
  auto record = provisional_record(**row, context_.network());
  if (!record || record->nodes.size() != 1 || record->nodes.front().first != context_.self())
    return fail(Errc::corrupt, "the register entry in diot.db, which waits for the ledger, is malformed");
  entry_ = **row;
  name_ = record->handle;
  state_ = State::waits;
  context_.handles.set_own(std::move(*record));
  judge();
  return {};
}

void OwnRegistration::ledger_changed() {
  judge();
  try_soon();
}

void OwnRegistration::judge() {
  if (state_ == State::none) return;
  if (context_.ledger.handle_of(context_.self())) {
    state_ = State::none;
    name_.clear();
    entry_.clear();
    context_.handles.forget_own();
    context_.store.erase(Table::meta, meta_registration());
    context_.turn.touch();
    return;
  }
  // By our own ledger only: what others say may be a lie, or rest on blocks that never were.
  const auto good = context_.ledger.check_entry(entry_, context_.clock.wall_ms(), StampCheck::none);
  reason_ = good ? "" : good.error().message;
  state_ = !good && is_final(good.error()) ? State::refused : State::waits;
}

void OwnRegistration::tick() {
  const Monotonic now = context_.clock.monotonic();
  if (state_ != State::waits || under_way_ || now < next_try_) return;
  judge();  // time alone may have ended the invite
  if (state_ != State::waits) return;
  pause_ = std::clamp(pause_ * 2, pause_min, pause_max);
  next_try_ = now + pause_;
  under_way_ = true;
  sync_.submit(entry_, [this](const Result<std::uint64_t>& height) {
    under_way_ = false;
    if (!height && height.error().code != Errc::timed_out) reason_ = height.error().message;
  });
}

std::string OwnRegistration::reason() const { return reason_.empty() ? sync_.status().text() : reason_; }

}  // namespace diot
