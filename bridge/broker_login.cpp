// Who is it? User name and password, and enhanced authentication (MQTT 5.0 section 4.12).

#include <fmt/format.h>

#include "bridge/broker.hpp"

namespace diot {

void Broker::log_in(ClientConnection& connection, Connect connect) {
  connection.login = std::make_unique<Login>();
  connection.login->connect = std::make_shared<Connect>(std::move(connect));
  // Kept here too: a verdict may come before check() returns, and it takes the login away.
  const std::shared_ptr<const Connect> asked = connection.login->connect;
  if (asked->authentication_method) {
    connection.authentication_method = *asked->authentication_method;
    return begin_scram(connection, asked->authentication_data);
  }
  Authenticator::Login login{connection.peer, asked->client_id, {}, {}};
  if (asked->user_name) login.user_name = *asked->user_name;
  if (asked->password) login.password = ByteView(*asked->password);
  authenticator_.check(login,
                       [this, alive = std::weak_ptr(alive_), id = connection.id](Authenticator::Verdict verdict) {
                         if (!alive.lock()) return;
                         ClientConnection* there = find(id);
                         if (there && there->login && !there->login->scram) on_verdict(*there, std::move(verdict));
                       });
  if (!connection.closed && connection.login) hold(connection);  // the verdict takes its time
}

void Broker::on_verdict(ClientConnection& connection, Authenticator::Verdict verdict) {
  const auto login = std::exchange(connection.login, nullptr);
  if (is_failure(verdict.reason)) {
    const Connect& asked = *login->connect;
    return refuse_connect(connection, verdict.reason, "the login was refused",
                          asked.user_name ? fmt::format("{} as user {}", asked.client_id, *asked.user_name)
                                          : fmt::format("{} without a user name", asked.client_id));
  }
  accept_connect(connection, std::move(*login->connect), std::move(verdict.user));
  if (!connection.closed) resume(connection);
}

bool Broker::may(const Session& session, Access access, std::string_view topic) const {
  return session.unrestricted || authenticator_.may({session.user, session.client_id}, access, topic);
}

// Enhanced authentication ------------------------------------------------------------------------------------

/// At CONNECT, or at a re-authentication: the client's first message may have come with the packet.
void Broker::begin_scram(ClientConnection& connection, const std::optional<Bytes>& client_first) {
  if (connection.authentication_method != scram_method || !authenticator_.offers_scram())
    return refuse_login(connection, Reason::bad_authentication_method,
                        "this authentication method is not offered here");
  connection.login->scram = std::make_unique<ScramServer>(ScramServer::make_nonce(random_));
  if (!client_first) return send_auth(connection, Reason::continue_authentication, {});
  take_client_first(connection, *client_first);
}

void Broker::on_auth(ClientConnection& connection, const RawPacket& packet) {
  if (!connection.is_v5()) return kick(connection, Reason::protocol_error, "AUTH is a packet of MQTT 5.0");
  const auto refuse = [&](Reason reason, std::string_view why) {
    return connection.accepted ? kick(connection, reason, why) : refuse_connect(connection, reason, why);
  };
  if (connection.authentication_method.empty())
    return refuse(Reason::protocol_error, "AUTH in a connection that began without authentication");
  auto auth = decode_auth(packet);
  if (!auth) return refuse(auth.error().reason, auth.error().what);
  if (auth->method != connection.authentication_method)
    return refuse(Reason::protocol_error, "AUTH with another method than CONNECT's");
  if (auth->reason == Reason::reauthenticate) {
    if (!connection.accepted || connection.login)
      return refuse(Reason::protocol_error, "a re-authentication before the authentication before it has ended");
    connection.login = std::make_unique<Login>();
    return begin_scram(connection, auth->data);
  }
  if (auth->reason != Reason::continue_authentication || !connection.login)
    return refuse(Reason::protocol_error, "AUTH that continues no authentication");
  if (!auth->data) return refuse_login(connection, Reason::not_authorized, "AUTH without authentication data");
  if (connection.login->step == Login::Step::first) return take_client_first(connection, *auth->data);
  take_client_final(connection, *auth->data);
}

void Broker::take_client_first(ClientConnection& connection, ByteView client_first) {
  Login& login = *connection.login;
  auto user = login.scram->begin(client_first);
  if (!user) return refuse_login(connection, Reason::not_authorized, user.error().message);
  login.user = *std::move(user);
  login.step = Login::Step::final;
  auto credentials = authenticator_.scram_credentials(connection.peer, login.user);
  if (!credentials) {
    if (credentials.error() != Reason::bad_user_name_or_password)
      return refuse_login(connection, credentials.error(), "the login was refused", "user " + login.user);
    // Steps like those of a user that exists, always the same for one name, to an end that nobody reaches.
    login.unknown = true;
    credentials.emplace();
    credentials->salt.resize(16);
    blake2b_keyed(credentials->salt, scram_secret_.bytes, {as_bytes(login.user)});
    random_.fill(credentials->stored_key);
  }
  send_auth(connection, Reason::continue_authentication, login.scram->challenge(*credentials));
}

void Broker::take_client_final(ClientConnection& connection, ByteView client_final) {
  const auto login = std::exchange(connection.login, nullptr);
  auto proof = login->scram->finish(client_final);
  if (!proof || login->unknown) {
    authenticator_.scram_failed(connection.peer, login->user);
    return refuse_login(connection, Reason::not_authorized, "the user name or the password is wrong",
                        "user " + login->user);
  }
  if (login->connect) return accept_connect(connection, std::move(*login->connect), login->user, *std::move(proof));
  if (login->user != connection.session->user)
    return refuse_login(connection, Reason::not_authorized, "a re-authentication as another user");
  send_auth(connection, Reason::success, *std::move(proof));
}

void Broker::refuse_login(ClientConnection& connection, Reason reason, std::string_view why, std::string_view who) {
  if (!connection.accepted) return refuse_connect(connection, reason, why, who);
  // Of all the reasons DISCONNECT knows this one (table 3-13).
  kick(connection, Reason::not_authorized, why);
}

void Broker::send_auth(ClientConnection& connection, Reason reason, Bytes data) {
  Bytes packet;
  encode_auth(packet, {reason, connection.authentication_method, std::move(data)});
  send_packet(connection, packet);
}

}  // namespace diot
