#include "tools/app/http.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include <nlohmann/json.hpp>
#include <restinio/all.hpp>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "tools/app/control.hpp"
#include "tools/app/options.hpp"

namespace diot {
namespace {

constexpr std::string_view path_prefix = "/api/v1/";

struct ServerTraits : restinio::default_single_thread_traits_t {
  static constexpr bool use_connection_count_limiter = true;
};
using RestServer = restinio::http_server_t<ServerTraits>;
using Request = restinio::request_handle_t;

/// What the handlers of open connections share. They may outlive the server by a moment.
struct Shared {
  Api* api;
  std::string token;
};

restinio::http_status_line_t status_of(const Result<Json>& answer) {
  if (answer) return restinio::status_ok();
  switch (answer.error().code) {
    case Errc::invalid: return restinio::status_bad_request();
    case Errc::not_found: return restinio::status_not_found();
    case Errc::exists: return restinio::status_conflict();
    case Errc::not_permitted: return restinio::status_forbidden();
    case Errc::not_available: return restinio::status_not_implemented();
    case Errc::limit: return restinio::status_payload_too_large();
    case Errc::timed_out: return restinio::status_gateway_time_out();
    case Errc::not_running: return restinio::status_service_unavailable();
    default: return restinio::status_internal_server_error();
  }
}

restinio::request_handling_status_t respond(const Request& request, restinio::http_status_line_t status,
                                            const Result<Json>& answer) {
  return request->create_response(std::move(status))
      .append_header(restinio::http_field::content_type, "application/json")
      .append_header(restinio::http_field::cache_control, "no-store")
      .append_header("X-Content-Type-Options", "nosniff")
      .set_body(answer_to_json(answer).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n")
      .done();
}
restinio::request_handling_status_t respond(const Request& request, const Result<Json>& answer) {
  return respond(request, status_of(answer), answer);
}

/// The Host header names this machine, with or without a port.
bool is_own_host(std::string_view host) {
  if (host.empty()) return false;
  const bool has_port = host.back() != ']' && host.rfind(':') != host.npos;
  const auto address = parse_address(has_port ? std::string(host) : fmt::format("{}:80", host));
  return address && is_loopback(*address);
}

bool is_token(std::string_view header, const std::string& token) {
  constexpr std::string_view scheme = "Bearer ";
  return header.size() == scheme.size() + token.size() && header.starts_with(scheme) &&
         sodium_memcmp(header.data() + scheme.size(), token.data(), token.size()) == 0;
}

/// "/api/v1/share/add" → "share add".
std::string verb_of(std::string_view path) {
  std::string verb(path.substr(path_prefix.size()));
  std::ranges::replace(verb, '/', ' ');
  return verb;
}

Result<Json> args_of(const Request& request) {
  Json args = Json::object();
  if (request->header().method() == restinio::http_method_get()) {
    try {
      const auto query =
          restinio::parse_query<restinio::parse_query_traits::javascript_compatible>(request->header().query());
      for (const auto& [name, value] : query) {
        // A name that comes twice is a list.
        Json& slot = args[std::string(name)];
        Json text = std::string(value);
        if (slot.is_null())
          slot = std::move(text);
        else if (slot.is_array())
          slot.push_back(std::move(text));
        else
          slot = Json::array({slot, std::move(text)});
      }
    } catch (const std::exception&) {
      return fail(Errc::invalid, "the query cannot be read");
    }
    return args;
  }
  return request->body().empty() ? args : parse_json(request->body());
}

restinio::request_handling_status_t handle(const Request& request, const std::shared_ptr<Shared>& shared) {
  const auto& header = request->header();
  if (shared->api == nullptr)
    return respond(request, restinio::status_service_unavailable(), fail(Errc::not_running, "the node is stopping"));
  if (!is_own_host(header.get_field_or(restinio::http_field::host, std::string())))
    return respond(request, restinio::http_status_line_t(restinio::http_status_code_t(421), "Misdirected Request"),
                   fail(Errc::not_permitted, "this API answers to the names of this machine only, e.g. localhost"));
  if (!is_token(header.get_field_or(restinio::http_field::authorization, std::string()), shared->token))
    return respond(request, restinio::status_unauthorized(),
                   fail(Errc::not_permitted,
                        "the token is missing or wrong: Authorization: Bearer, then the line in $DIOT_HOME/api.token"));
  if (!header.path().starts_with(path_prefix))
    return respond(request, fail(Errc::not_found, "the API begins at /api/v1/"));
  const bool get = header.method() == restinio::http_method_get();
  const std::string name = verb_of({header.path().data(), header.path().size()});
  const Verb* verb = find_verb(name);
  if ((!get && header.method() != restinio::http_method_post()) || (get && verb != nullptr && !verb->reads_only))
    return respond(request, restinio::status_method_not_allowed(),
                   fail(Errc::invalid, "use POST, or GET for a verb that only reads"));
  const auto args = args_of(request);
  if (!args) return respond(request, args);
  dispatch(*shared->api, name, *args, [request](const Result<Json>& answer) { respond(request, answer); });
  return restinio::request_accepted();
}

class Server final : public HttpServer {
 public:
  Server(asio::io_context& io, Api& api, const HostPort& where, std::string token)
      : shared_(std::make_shared<Shared>(Shared{&api, std::move(token)})),
        server_(restinio::external_io_context(io), [&](auto& settings) {
          using namespace std::chrono_literals;
          const auto address = where.host == "localhost" ? "127.0.0.1" : where.host;
          settings.address(asio::ip::make_address(address))
              .port(where.port)
              .max_parallel_connections(limits::api_clients_max)
              .read_next_http_message_timelimit(30s)
              .write_http_response_timelimit(30s)
              .handle_request_timeout(120s)
              .incoming_http_msg_limits(restinio::incoming_http_msg_limits_t{}
                                            .max_url_size(4096)
                                            .max_field_name_size(256)
                                            .max_field_value_size(4096)
                                            .max_field_count(64)
                                            .max_body_size(limits::api_request_bytes_max))
              .acceptor_post_bind_hook([this](auto& acceptor) {
                const auto bound = acceptor.local_endpoint();
                address_ = to_string(HostPort{bound.address().to_string(), bound.port()});
              })
              .request_handler([shared = shared_](const Request& request) { return handle(request, shared); });
        }) {
    server_.open_sync();
  }
  ~Server() override {
    shared_->api = nullptr;
    try {
      server_.close_sync();
    } catch (const std::exception&) {
      // The acceptor goes with the io_context.
    }
  }
  const std::string& address() const override { return address_; }

 private:
  std::shared_ptr<Shared> shared_;
  std::string address_;
  RestServer server_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(asio::io_context& io, Api& api, const std::string& address,
                                                      std::string token) {
  const auto where = parse_address(address);
  if (!where) return tl::unexpected(where.error());
  if (!is_loopback(*where))
    return fail(Errc::not_permitted, fmt::format("the HTTP API listens on this machine only, not on {}", address));
  try {
    return std::make_unique<Server>(io, api, *where, std::move(token));
  } catch (const std::exception& error) {
    return fail(Errc::io, fmt::format("cannot listen on {} for HTTP: {}", address, error.what()));
  }
}

}  // namespace diot
