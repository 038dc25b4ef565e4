#include "dht/records.hpp"

namespace diot {

std::shared_ptr<Message> message_from(const Record& record, std::string topic, Monotonic now,
                                      std::uint32_t age_seconds) {
  auto message = std::make_shared<Message>();
  message->topic = std::move(topic);
  message->payload = record.payload;
  message->qos = record.qos;
  message->retain = record.retain;
  message->properties = record.properties;
  message->received = now;
  if (auto& expiry = message->properties.expiry_seconds) {
    if (*expiry <= age_seconds) return nullptr;
    *expiry -= age_seconds;
  }
  return message;
}

RetainedValue retained_from(const BatchView& batch, std::uint32_t index, MessagePtr message) {
  const BatchHeader& header = batch.header;
  RetainedValue out;
  out.message = std::move(message);
  out.stamp = {header.time, header.writer, header.incarnation, header.first_seq + index};
  out.channel = header.channel;
  if (auto proof = batch.proof_of(index)) out.proof = std::move(*proof);
  return out;
}

}  // namespace diot
