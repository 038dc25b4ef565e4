#include "tools/app/control.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>
#include <atomic>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "tests/temporary_folder.hpp"
#include "tools/app/http.hpp"

namespace diot {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

/// Answers every call with what it was asked; "peers" later, "ledger verify" never.
struct EchoApi final : Api {
  explicit EchoApi(asio::io_context& context) : io(context) {}
  void call(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done) override {
    if (verb == "handle renew") return done(fail(Errc::not_permitted, "not you"));
    if (verb == "ledger verify") {
      pending.push_back(std::move(done));
      ++pending_count;
      return;
    }
    Json answer{{"verb", verb}, {"args", args}};
    if (verb == "peers") return asio::post(io, [done, answer] { done(answer); });
    done(std::move(answer));
  }
  asio::io_context& io;
  std::vector<std::function<void(Result<Json>)>> pending;  // I/O thread
  std::atomic<int> pending_count = 0;
};

/// The server on a thread of its own, as in a node.
struct ControlTest : testing::Test {
  ControlTest() {
    listening = server.listen(socket_path);
    auto started = HttpServer::start(io, api, "127.0.0.1:0", "secret-token");
    if (started) http = std::move(*started);
    thread = std::thread([this] { io.run(); });
  }
  ~ControlTest() override {
    std::promise<void> stopped;
    asio::post(io, [&] {
      http.reset();
      server.shut_down();
      stopped.set_value();
    });
    stopped.get_future().wait();
    work.reset();
    io.stop();
    thread.join();
  }

  Result<Json> ask(std::string_view verb, const Json& args = Json::object()) {
    return ask_node(socket_path, verb, args, 10'000);
  }
  /// Sends raw bytes to the unix socket and reads until the server closes, or `lines` lines are there.
  std::string raw(const std::string& bytes, std::size_t lines) {
    asio::io_context own;
    asio::local::stream_protocol::socket socket(own);
    const SocketPath path(socket_path);
    socket.connect(asio::local::stream_protocol::endpoint(path.usable()));
    return talk(socket, bytes, [lines](const std::string& got) {
      return static_cast<std::size_t>(std::ranges::count(got, '\n')) >= lines;
    });
  }
  std::string raw_http(const std::string& bytes) {
    asio::io_context own;
    asio::ip::tcp::socket socket(own);
    const auto address = parse_address(http->address()).value();
    socket.connect({asio::ip::make_address(address.host), address.port});
    return talk(socket, bytes, [](const std::string&) { return false; });
  }
  std::string request(const std::string& method, const std::string& target, const std::string& body = "",
                      const std::string& headers = "Host: localhost\r\nAuthorization: Bearer secret-token\r\n") {
    return raw_http(method + " " + target + " HTTP/1.1\r\n" + headers +
                    "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  template <class Socket>
  static std::string talk(Socket& socket, const std::string& bytes,
                          const std::function<bool(const std::string&)>& enough) {
    std::error_code error;
    asio::write(socket, asio::buffer(bytes), error);
    std::string got;
    std::array<char, 4096> chunk;
    while (!error && !enough(got)) got.append(chunk.data(), socket.read_some(asio::buffer(chunk), error));
    return got;
  }

  TemporaryFolder folder;
  // Longer than a unix socket's address, which holds 107 bytes.
  const std::string socket_path = [this] {
    const std::string deep = folder.path() + "/" + std::string(120, 'd');
    std::filesystem::create_directory(deep);
    return deep + "/api.sock";
  }();
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  EchoApi api{io};
  ControlServer server{io, api};
  std::unique_ptr<HttpServer> http;
  Result<void> listening;
  std::thread thread;
};

TEST_F(ControlTest, AnswersWithTheVerbAndItsArguments) {
  ASSERT_TRUE(listening) << listening.error().message;
  EXPECT_EQ(ask("share add", {{"filter", "a/#"}}).value(),
            (Json{{"verb", "share add"}, {"args", {{"filter", "a/#"}}}}));
  EXPECT_EQ(ask("peers")->at("verb"), "peers");
}

TEST_F(ControlTest, ErrorsKeepTheirCode) {
  EXPECT_EQ(ask("handle renew").error().code, Errc::not_permitted);
  EXPECT_EQ(ask("handle renew").error().message, "not you");
  EXPECT_EQ(ask("no such verb").error().code, Errc::not_found);
  EXPECT_EQ(ask("doctor").error().code, Errc::not_available);
  EXPECT_EQ(ask("init", {{"handle", "x"}}).error().code, Errc::invalid);
  EXPECT_EQ(ask("share add").error().code, Errc::invalid);
}

TEST_F(ControlTest, TheSocketIsForItsOwnerOnly) {
  struct stat status {};
  ASSERT_EQ(::stat(socket_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST_F(ControlTest, RequestsOfOneConnectionAreAnsweredInOrder) {
  const std::string answers = raw("{\"verb\":\"peers\"}\n{\"verb\":\"status\"}\n\n{\"verb\":\"peers\"}\n", 4);
  EXPECT_LT(answers.find("peers"), answers.find("status"));
  EXPECT_LT(answers.find("status"), answers.rfind("peers"));
  EXPECT_THAT(answers, HasSubstr("not JSON"));  // the empty line
}

TEST_F(ControlTest, GarbageGetsAnErrorAndTheNextLineIsServed) {
  for (const std::string& line :
       {std::string("garbage"), std::string("[]"), std::string("{}"), std::string("null"), std::string("{\"verb\":7}"),
        std::string("{\"verb\":\"status\",\"extra\":1}"), std::string("{\"verb\":\"status\",\"args\":[]}"),
        std::string("{\"verb\":\"status\",\"args\":7}"), std::string("\xff\xfe\0\1", 4), std::string(5000, '['),
        std::string("{\"verb\":\"\xff\"}")}) {
    const std::string answers = raw(line + "\n{\"verb\":\"status\"}\n", 2);
    EXPECT_THAT(answers, HasSubstr("\"ok\":false")) << line;
    EXPECT_THAT(answers, HasSubstr("\"verb\":\"status\"")) << line;
  }
}

TEST_F(ControlTest, ALineWithoutEndIsCutOff) {
  const std::string answer = raw(std::string(limits::api_request_bytes_max + 8192, 'x'), 1);
  EXPECT_TRUE(answer.empty() || answer.find("limit") != answer.npos) << answer;  // the close may overtake the answer
  EXPECT_TRUE(ask("status"));
}

TEST_F(ControlTest, TooManyConnectionsAreRefusedAndThoseThatAreThereGoOn) {
  asio::io_context own;
  std::vector<asio::local::stream_protocol::socket> sockets;
  const SocketPath path(socket_path);
  for (std::size_t i = 0; i < limits::api_clients_max; ++i)
    sockets.emplace_back(own).connect(asio::local::stream_protocol::endpoint(path.usable()));
  EXPECT_THAT(talk(sockets.front(), "{\"verb\":\"status\"}\n", [](auto& got) { return got.find('\n') != got.npos; }),
              HasSubstr("status"));
  EXPECT_THAT(raw("", 1), HasSubstr("too many"));
}

TEST_F(ControlTest, AClientThatGoesBeforeItsAnswerDoesNoHarm) {
  {
    asio::io_context own;
    asio::local::stream_protocol::socket socket(own);
    const SocketPath path(socket_path);
    socket.connect(asio::local::stream_protocol::endpoint(path.usable()));
    asio::write(socket, asio::buffer(std::string("{\"verb\":\"ledger verify\"}\n")));
    while (api.pending_count == 0) std::this_thread::yield();
  }
  ASSERT_TRUE(ask("status"));
  std::promise<void> answered;
  asio::post(io, [&] {
    api.pending.front()(Json::object());
    answered.set_value();
  });
  answered.get_future().wait();
  EXPECT_TRUE(ask("status"));
}

TEST_F(ControlTest, AnAnswerThatDoesNotComeTimesOut) {
  EXPECT_EQ(ask_node(socket_path, "ledger verify", Json::object(), 50).error().code, Errc::timed_out);
}

TEST(AskNode, SaysThatNoNodeIsRunning) {
  const TemporaryFolder folder;
  const auto nobody = ask_node(folder.path() + "/api.sock", "status", Json::object(), 1000);
  EXPECT_EQ(nobody.error().code, Errc::not_running);
  EXPECT_THAT(nobody.error().message, HasSubstr("diot run"));
  EXPECT_EQ(ask_node(folder.path() + "/none/api.sock", "status", Json::object(), 1000).error().code, Errc::not_running);
}

TEST_F(ControlTest, AStaleSocketIsReplaced) {
  asio::io_context own;
  EchoApi other_api(own);
  ControlServer other(own, other_api);
  EXPECT_TRUE(other.listen(socket_path));
}

// HTTP ---------------------------------------------------------------------------------------------------------

TEST_F(ControlTest, HttpPostTakesJson) {
  const auto answer = request("POST", "/api/v1/share/add", R"({"filter": "a/#"})");
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr(R"("args":{"filter":"a/#"})"));
}

TEST_F(ControlTest, HttpGetTakesAQuery) {
  EXPECT_THAT(request("GET", "/api/v1/ledger/show?handle=al%69ce"), HasSubstr(R"("args":{"handle":"alice"})"));
  EXPECT_THAT(request("GET", "/api/v1/peers"), HasSubstr("\"verb\":\"peers\""));
}

TEST_F(ControlTest, HttpStatusCodesFit) {
  EXPECT_THAT(request("POST", "/api/v1/handle/renew"), HasSubstr("HTTP/1.1 403"));
  EXPECT_THAT(request("POST", "/api/v1/nonsense"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(request("GET", "/"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(request("POST", "/api/v1/doctor"), HasSubstr("HTTP/1.1 501"));
  EXPECT_THAT(request("POST", "/api/v1/share/add", "{"), HasSubstr("HTTP/1.1 400"));
  EXPECT_THAT(request("GET", "/api/v1/share/add?filter=x"), HasSubstr("HTTP/1.1 405"));
  EXPECT_THAT(request("DELETE", "/api/v1/status"), HasSubstr("HTTP/1.1 405"));
}

TEST_F(ControlTest, HttpNeedsTheToken) {
  for (const char* authorization :
       {"", "Authorization: Bearer \r\n", "Authorization: Bearer secret-tokem\r\n", "Authorization: secret-token\r\n",
        "Authorization: Bearer secret-token2\r\n", "Authorization: Basic secret-token\r\n"})
    EXPECT_THAT(request("GET", "/api/v1/status", "", std::string("Host: localhost\r\n") + authorization),
                HasSubstr("HTTP/1.1 401"))
        << authorization;
}

TEST_F(ControlTest, HttpAnswersToThisMachinesNamesOnly) {
  const std::string token = "Authorization: Bearer secret-token\r\n";
  for (const char* host : {"evil.example.org", "127.0.0.1.evil.org:8480", "192.168.1.1", ""})
    EXPECT_THAT(request("GET", "/api/v1/status", "", "Host: " + std::string(host) + "\r\n" + token),
                HasSubstr("HTTP/1.1 421"))
        << host;
  for (const char* host : {"localhost:8480", "127.0.0.1", "[::1]:8480", "[::1]"})
    EXPECT_THAT(request("GET", "/api/v1/status", "", "Host: " + std::string(host) + "\r\n" + token),
                HasSubstr("HTTP/1.1 200"))
        << host;
}

TEST_F(ControlTest, HttpGarbageAndFloodsAreClosed) {
  raw_http("garbage\r\n\r\n");
  raw_http(std::string("\0\1\2\xff", 4) + std::string(10'000, 'x') + "\r\n\r\n");
  EXPECT_THAT(request("POST", "/api/v1/status", std::string(limits::api_request_bytes_max + 1, ' ')),
              testing::Not(HasSubstr("HTTP/1.1 200")));
  EXPECT_THAT(request("GET", "/api/v1/status?" + std::string(100'000, 'x')), testing::Not(HasSubstr("HTTP/1.1 200")));
  EXPECT_THAT(request("GET", "/api/v1/status"), HasSubstr("HTTP/1.1 200"));
}

TEST_F(ControlTest, HttpStaysOnThisMachine) {
  EXPECT_EQ(HttpServer::start(io, api, "0.0.0.0:0", "t").error().code, Errc::not_permitted);
  EXPECT_EQ(HttpServer::start(io, api, http->address(), "t").error().code, Errc::io) << "the port is taken";
}

}  // namespace
}  // namespace diot
