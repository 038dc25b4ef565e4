// What `diot handle update` makes of a record, and what it refuses to.

#include "tools/app/handle_update.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/ledger/limits.hpp"
#include "tests/core/ledger_world.hpp"
#include "tools/app/ledger_answers.hpp"
#include "tools/app/options.hpp"

namespace diot {
namespace {

using namespace diot::testing;

class HandleUpdate : public ::testing::Test {
 protected:
  /// With alice's gateways `node` (admin) and `second` (member).
  HandleUpdate() {
    HandleRecord two = *ledger.handle("alice");

    two.nodes.emplace_back(alice.second.node_id(), Role::member);
    EXPECT_EQ(
        why(world.commit(ledger, {make_update(two, ledger.network(), ledger.head(), alice.owner, {alice.second})})),
        "");
  }
  Result<HandleRecord> update(const Json& args) {
    return check_args(*find_verb("handle update"), args).and_then([&](const Json& checked) {
      return update_record(*ledger.handle("alice"), checked);
    });
  }
  /// The same, and the ledger takes it.
  void take(const Json& args) {
    auto record = update(args);
    ASSERT_TRUE(record) << record.error().message;
    ASSERT_EQ(why(world.commit(ledger, {make_update(*record, ledger.network(), ledger.head(), alice.owner, {})})), "");
  }
  static std::string key(std::uint64_t number) { return test_key(number).public_key().hex(); }
  Json shown() { return handle_answer(*ledger.handle("alice"), true); }

  World world;
  Ledger ledger = world.ledger();
  const std::string first = to_display(alice.node.node_id()), second = to_display(alice.second.node_id());
};

TEST_F(HandleUpdate, PersonsComeGetANewKeyAndGo) {
  EXPECT_EQ(shown()["persons"], Json::array());
  take({{"person", {"mum=" + key(50), "dad=" + key(51)}}});
  EXPECT_EQ(shown()["persons"],
            (Json::array({{{"person", "dad"}, {"key", key(51)}}, {{"person", "mum"}, {"key", key(50)}}})));
  take({{"person", {"mum=" + key(52)}}, {"remove-person", {"dad"}}});
  EXPECT_EQ(shown()["persons"], (Json::array({{{"person", "mum"}, {"key", key(52)}}})));
  EXPECT_EQ(ledger.handle("alice")->nodes.size(), 2u);
}

TEST_F(HandleUpdate, ANodeGetsAnotherRoleWhileOneIsAnAdmin) {
  EXPECT_REFUSED(update({{"role", {first + "=member"}}}), Errc::invalid, "needs a node with the role admin");
  take({{"role", {first + "=member", second + "=admin"}}});
  EXPECT_EQ(ledger.handle("alice")->role_of(alice.node.node_id()), Role::member);
  EXPECT_EQ(ledger.handle("alice")->role_of(alice.second.node_id()), Role::admin);
  EXPECT_REFUSED(update({{"remove-node", {second}}}), Errc::invalid, "needs a node with the role admin");
  take({{"remove-node", {first}}});
  EXPECT_EQ(ledger.handle("alice")->nodes.size(), 1u);
}

TEST_F(HandleUpdate, WhatCannotBeRightIsNamed) {
  EXPECT_REFUSED(update(Json::object()), Errc::invalid, "--person");
  EXPECT_REFUSED(update({{"role", {first + "=admin"}}}), Errc::invalid, "already");
  EXPECT_REFUSED(update({{"role", {first}}}), Errc::invalid, "NODE=admin");
  EXPECT_REFUSED(update({{"role", {first + "=owner"}}}), Errc::invalid, "NODE=admin");
  EXPECT_REFUSED(update({{"role", {to_display(bob.node.node_id()) + "=admin"}}}), Errc::not_found, "does not speak");
  EXPECT_REFUSED(update({{"remove-node", {"x"}}}), Errc::invalid, "");
  EXPECT_REFUSED(update({{"person", {"mum"}}}), Errc::invalid, "64 hex digits");
  EXPECT_REFUSED(update({{"person", {"mum=" + key(50).substr(2)}}}), Errc::invalid, "64 hex digits");
  EXPECT_REFUSED(update({{"person", {"mum=" + std::string(64, '0')}}}), Errc::invalid, "64 hex digits");
  EXPECT_REFUSED(update({{"person", {"Mum=" + key(50)}}}), Errc::invalid, "a person's name");
  EXPECT_REFUSED(update({{"remove-person", {"mum"}}}), Errc::not_found, "no person 'mum'");
  Json many = Json::array();
  for (std::size_t i = 0; i <= limits::persons_per_handle_max; ++i)
    many.push_back("p" + std::to_string(i) + "=" + key(100 + i));
  EXPECT_REFUSED(update({{"person", many}}), Errc::limit, "64 persons");
}

TEST_F(HandleUpdate, TwoPersonsWithOneKeyAreRefusedByTheLedger) {
  const auto record = update({{"person", {"mum=" + key(50), "dad=" + key(50)}}});
  ASSERT_TRUE(record);
  EXPECT_REFUSED(ledger.check_entry(make_update(*record, ledger.network(), ledger.head(), alice.owner, {}), world.now),
                 Errc::invalid, "the same key");
}

}  // namespace
}  // namespace diot
