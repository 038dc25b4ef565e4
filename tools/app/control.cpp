#include "tools/app/control.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/limits.hpp"
#include "tools/app/options.hpp"

namespace diot {

void dispatch(Api& api, std::string_view verb_name, const Json& args, std::function<void(Result<Json>)> done) {
  const Verb* verb = find_verb(verb_name);
  if (verb == nullptr)
    return done(fail(Errc::not_found, fmt::format("there is no verb '{}'", verb_name.substr(0, 64))));
  if (verb->place == VerbPlace::later)
    return done(fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb->name)));
  if (verb->place == VerbPlace::local && !verb->reads_only)
    return done(fail(Errc::invalid, fmt::format("`diot {}` is for the command line", verb->name)));
  auto checked = check_args(*verb, args);
  if (!checked) return done(std::move(checked));
  api.call(std::string(verb->name), *checked, std::move(done));
}

Json answer_to_json(const Result<Json>& answer) {
  if (answer) return {{"ok", true}, {"result", *answer}};
  return {{"ok", false}, {"code", name_of(answer.error().code)}, {"message", answer.error().message}};
}

Result<Json> answer_from_json(const Json& line) {
  const auto ok = line.is_object() ? line.find("ok") : line.end();
  if (!line.is_object() || ok == line.end() || !ok->is_boolean())
    return fail(Errc::io, "the node's answer cannot be read: is it another version?");
  if (ok->get<bool>()) return line.value("result", Json::object());
  const auto text = [&](const char* member) {
    const auto found = line.find(member);
    return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::string code = text("code");
  for (int number = 0; number <= static_cast<int>(Errc::not_running); ++number)
    if (code == name_of(static_cast<Errc>(number))) return fail(static_cast<Errc>(number), text("message"));
  return fail(Errc::io, text("message"));
}

Result<Json> parse_json(std::string_view text) {
  Json out = Json::parse(text, nullptr, false);
  if (out.is_discarded()) return fail(Errc::invalid, "this is not JSON");
  return out;
}

SocketPath::SocketPath(const std::string& path) : usable_(path) {
  constexpr std::size_t sun_path_max = 107;
  if (path.size() <= sun_path_max) return;
  const std::filesystem::path whole(path);
  folder_ = ::open(whole.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  usable_ = fmt::format("/proc/self/fd/{}/{}", folder_, whole.filename().string());
}
SocketPath::~SocketPath() {
  if (folder_ >= 0) ::close(folder_);
}

using Socket = asio::local::stream_protocol::socket;

struct ControlServer::Impl : std::enable_shared_from_this<Impl> {
  /// One client: reads a line, waits for its answer, writes that, reads the next.
  struct Client : std::enable_shared_from_this<Client> {
    Client(Socket accepted, std::weak_ptr<Impl> owner) : socket(std::move(accepted)), server(std::move(owner)) {}

    void next() {
      const auto end = input.find('\n');
      if (end != input.npos) {
        const std::string line = input.substr(0, end);
        input.erase(0, end + 1);
        return handle(line);
      }
      if (input.size() > limits::api_request_bytes_max) {
        last = true;
        return answer(fail(Errc::limit, fmt::format("a request has {} bytes at most", limits::api_request_bytes_max)));
      }
      socket.async_read_some(asio::buffer(chunk), [self = shared_from_this()](std::error_code error, std::size_t got) {
        if (error) return self->close();
        self->input.append(self->chunk.data(), got);
        self->next();
      });
    }

    void handle(const std::string& line) {
      const auto owner = server.lock();
      if (!owner || owner->closed) return close();
      auto request = parse_json(line);
      if (!request) return answer(tl::unexpected(request.error()));
      const auto verb = request->is_object() ? request->find("verb") : request->end();
      if (!request->is_object() || verb == request->end() || !verb->is_string())
        return answer(fail(Errc::invalid, R"(a request looks like {"verb": "status", "args": {}})"));
      for (const auto& [name, value] : request->items())
        if (name != "verb" && name != "args")
          return answer(fail(Errc::invalid, fmt::format("a request has no member '{}'", name.substr(0, 64))));
      const auto args = request->find("args");
      dispatch(owner->api, verb->get<std::string>(), args == request->end() ? Json::object() : *args,
               [weak = weak_from_this()](const Result<Json>& result) {
                 if (const auto self = weak.lock()) self->answer(result);
               });
    }

    void answer(const Result<Json>& result) {
      // Names and topics of strangers may be anything; JSON must be UTF-8.
      output = answer_to_json(result).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
      asio::async_write(socket, asio::buffer(output), [self = shared_from_this()](std::error_code error, std::size_t) {
        if (error || self->last) return self->close();
        self->next();
      });
    }

    void close() {
      std::error_code ignored;
      socket.close(ignored);
      if (const auto owner = server.lock()) owner->clients.erase(shared_from_this());
    }

    Socket socket;
    std::weak_ptr<Impl> server;
    std::array<char, 4096> chunk;
    std::string input, output;
    bool last = false;
  };

  Impl(asio::io_context& io, Api& called) : api(called), acceptor(io), pause(io) {}

  void accept() {
    acceptor.async_accept([self = shared_from_this()](std::error_code error, Socket socket) {
      if (self->closed) return;
      if (!error) {
        const auto client = std::make_shared<Client>(std::move(socket), self);
        self->clients.insert(client);
        if (self->clients.size() > limits::api_clients_max) {
          client->last = true;
          client->answer(fail(Errc::limit, "too many control connections at once: try again"));
        } else {
          client->next();
        }
        return self->accept();
      }
      // Out of descriptors, most likely: try again when some may be free, and do not spin.
      self->pause.expires_after(std::chrono::milliseconds(100));
      self->pause.async_wait([self](std::error_code cancelled) {
        if (!cancelled && !self->closed) self->accept();
      });
    });
  }

  void shut_down() {
    if (std::exchange(closed, true)) return;
    std::error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
    for (const auto& client : std::exchange(clients, {})) client->socket.close(ignored);
    if (!path.empty()) ::unlink(path.c_str());
  }

  Api& api;
  asio::local::stream_protocol::acceptor acceptor;
  asio::steady_timer pause;
  std::set<std::shared_ptr<Client>> clients;
  std::string path;
  bool closed = false;
};

ControlServer::ControlServer(asio::io_context& io, Api& api) : impl_(std::make_shared<Impl>(io, api)) {}
ControlServer::~ControlServer() { impl_->shut_down(); }
void ControlServer::shut_down() { impl_->shut_down(); }

Result<void> ControlServer::listen(const std::string& socket_path) {
  const SocketPath path(socket_path);
  ::unlink(socket_path.c_str());
  std::error_code error;
  const auto step = [&](auto&& action) {
    if (!error) action();
  };
  step([&] { impl_->acceptor.open(asio::local::stream_protocol(), error); });
  step([&] { impl_->acceptor.bind(asio::local::stream_protocol::endpoint(path.usable()), error); });
  step([&] { impl_->acceptor.listen(asio::socket_base::max_listen_connections, error); });
  if (error) return fail(Errc::io, fmt::format("cannot open the control socket {}: {}", socket_path, error.message()));
  if (::chmod(socket_path.c_str(), 0600) != 0)
    return fail(Errc::io, fmt::format("cannot protect the control socket {}", socket_path));
  impl_->path = socket_path;
  impl_->accept();
  return {};
}

Result<Json> ask_node(const std::string& socket_path, std::string_view verb, const Json& args, int timeout_ms) {
  asio::io_context io;
  Socket socket(io);
  const SocketPath path(socket_path);
  std::error_code error;
  socket.connect(asio::local::stream_protocol::endpoint(path.usable()), error);
  // By number: asio's category maps few of them to std::errc.
  if (error.value() == EACCES)
    return fail(Errc::not_permitted, fmt::format("{} belongs to another user: run diot as that user", socket_path));
  if (error.value() == ENOENT || error.value() == ECONNREFUSED || error.value() == ENOTDIR)
    return fail(Errc::not_running, "no node is running here: start it with `diot run`");
  if (error) return fail(Errc::io, fmt::format("cannot reach the node at {}: {}", socket_path, error.message()));

  const std::string request =
      Json{{"verb", verb}, {"args", args}}.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::string answer;
  std::array<char, 16384> chunk;
  std::function<void()> read = [&] {
    socket.async_read_some(asio::buffer(chunk), [&](std::error_code read_error, std::size_t got) {
      error = read_error;
      if (error) return;
      answer.append(chunk.data(), got);
      if (answer.back() != '\n') read();
    });
  };
  asio::async_write(socket, asio::buffer(request), [&](std::error_code write_error, std::size_t) {
    error = write_error;
    if (!error) read();
  });
  io.run_for(std::chrono::milliseconds(timeout_ms));
  if (!answer.empty() && answer.back() == '\n') {
    const auto line = parse_json(answer);
    return line ? answer_from_json(*line) : tl::unexpected(line.error());
  }
  if (error) return fail(Errc::not_running, "the node went away before it answered: look at its log");
  socket.close(error);
  io.run();  // the cancelled operation refers to the variables above
  return fail(Errc::timed_out, fmt::format("the node has not answered within {} s", timeout_ms / 1000));
}

}  // namespace diot
