#pragma once
// What the records of a batch become at a node: messages, and retained values with their proof.

#include <memory>
#include <string>

#include "core/batch.hpp"
#include "core/clock.hpp"
#include "core/message.hpp"
#include "core/retained.hpp"

namespace diot {

/// The message of a record under the name that its topic has here, `age_seconds` after it was signed; nullptr: it has
/// expired since.
std::shared_ptr<Message> message_from(const Record& record, std::string topic, Monotonic now,
                                      std::uint32_t age_seconds);

/// What the retained record at `index` of a batch with a root leaves for its topic: the message, or (nullptr) a tombstone.
RetainedValue retained_from(const BatchView& batch, std::uint32_t index, MessagePtr message);

}  // namespace diot
