// diot-ledger-bench: what a ledger of so many handles costs: to replay it, to begin with a snapshot of it, on disk, in
// memory, and to check a proof; and how fast four witnesses agree. Each step is a process of its own, so that its memory is
// its own.

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "core/ledger/agreement.hpp"
#include "core/ledger/proof.hpp"
#include "core/ledger/snapshot_fetch.hpp"
#include "core/ledger/storage.hpp"
#include "core/sqlite_store.hpp"

namespace {

using namespace diot;
namespace fs = std::filesystem;

constexpr std::size_t witness_count = 7;
constexpr WallMs begin_ms = 1'790'000'000'000, day_ms = 86'400'000;
constexpr WallMs lasts_ms = 120 * day_ms;  // so that a quarter of the history is in a snapshot's window

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "diot-ledger-bench: {}\n", what);
  std::exit(1);
}
template <class T>
T must(Result<T> result) {
  if (!result) give_up(result.error().message);
  return std::move(*result);
}
void must(const Result<void>& result) {
  if (!result) give_up(result.error().message);
}

KeyPair key(std::uint64_t number, std::uint8_t kind) {
  Seed seed;
  for (std::size_t i = 0; i < 8; ++i) seed.bytes[i] = static_cast<std::uint8_t>(number >> 8 * i);
  seed.bytes[8] = kind;
  return KeyPair::from_seed(seed);
}
std::string name(std::uint64_t number) { return fmt::format("{:x}-home", number + 0x100000); }

class Timer {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double peak_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

/// A store without an I/O loop: what is put is on disk when `commit` returns.
class Disk {
 public:
  explicit Disk(const fs::path& file) : file_(file) {
    store_ = must(SqliteStore::open(file, [](const std::function<void()>&) {}));
  }
  Store& store() { return *store_; }
  void commit() {
    must(store_->close());
    store_ = must(SqliteStore::open(file_, [](const std::function<void()>&) {}));
  }
  double bytes() const { return static_cast<double>(fs::file_size(file_)); }

 private:
  fs::path file_;
  std::unique_ptr<SqliteStore> store_;
};

Bytes read_genesis(const fs::path& folder) {
  std::ifstream in(folder / "genesis", std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

// Steps ----------------------------------------------------------------------------------------------------------

Registration home(std::uint64_t number) {
  return {name(number),
          key(number, 1).public_key(),
          sha256(key(number, 2).public_key()),
          {{key(number, 3).node_id(), Role::admin}}};
}

Bytes let_in(std::uint64_t number, std::uint64_t inviter, const Ledger& ledger, WallMs until) {
  const auto token = key(number, 4);
  const Grant grant{ledger.network(),         name(inviter), token.public_key(), 1, until, ledger.head(),
                    key(inviter, 3).node_id()};
  const Invite invite{encode_grant(grant, key(inviter, 3)), token.seed(), grant.signer, {}};
  return make_register(home(number), ledger.network(), ledger.head(), key(number, 1), {key(number, 3)}, &invite);
}

Bytes decided(const Ledger::Proposal& proposal, const std::vector<KeyPair>& witnesses) {
  std::vector<BlockView::Vote> votes;
  for (std::size_t i = 0; i < quorum_size(witnesses.size()); ++i)
    votes.push_back(make_vote(proposal.header, 0, static_cast<std::uint32_t>(i), proposal.header.time, witnesses[i]));
  return encode_block(proposal.header, proposal.entries, 0, votes);
}

/// Home number n is let in by number (n − 1) / 5: nobody lets in more than five.
void make(const fs::path& folder, std::uint64_t handles) {
  std::vector<KeyPair> witnesses;
  Genesis genesis;
  for (std::size_t i = 0; i < witness_count; ++i) {
    witnesses.push_back(key(i, 9));
    genesis.witnesses.push_back(witnesses.back().public_key());
  }
  genesis.time = begin_ms;
  genesis.founding = {make_register(home(0), {}, {}, key(0, 1), {key(0, 3)}, nullptr)};
  const auto bytes = encode_genesis(genesis, witnesses);
  std::ofstream(folder / "genesis", std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  auto ledger = must(Ledger::from_genesis(bytes));
  Disk disk(folder / "a.db");
  const auto append = [&](const Ledger::Proposal& proposal) {
    const auto block = decided(proposal, witnesses);
    must(ledger.append(block));
    disk.store().put(Table::block, block_key(ledger.head().height), block);
    if (disk.store().pending_bytes() > (32 << 20)) disk.commit();
  };
  append(must(ledger.propose(genesis.founding, begin_ms)));
  const Timer timer;
  std::uint64_t next = 1;
  while (next < handles) {
    std::vector<Bytes> entries;
    // Of those who are registered.
    const auto end = std::min({handles, next + 1000, 5 * next + 1});
    for (; next < end; ++next) entries.push_back(let_in(next, (next - 1) / 5, ledger, begin_ms + 2 * lasts_ms));
    std::vector<Bytes> left = std::move(entries);
    while (!left.empty()) {
      const auto proposal = must(ledger.propose(left, begin_ms + lasts_ms * next / handles));
      append(proposal);
      const std::set<Bytes> taken(proposal.entries.begin(), proposal.entries.end());
      std::erase_if(left, [&](const Bytes& entry) { return taken.contains(entry); });
    }
  }
  disk.commit();
  fmt::print("| made: {} handles in {} blocks | {:.1f} s, {:.0f} entries/s judged and put by one core |\n",
             ledger.handles().size(), ledger.head().height, timer.seconds(),
             static_cast<double>(ledger.entry_count()) / timer.seconds());
  fmt::print("| on disk, every block | {:.0f} bytes a handle |\n", disk.bytes() / static_cast<double>(handles));
}

void load(const fs::path& folder, const std::string& file, std::string_view what) {
  Disk disk(folder / file);
  const auto before = peak_mb();
  const Timer timer;
  const auto ledger = must(load_ledger(read_genesis(folder), disk.store()));
  const auto count = static_cast<double>(ledger.handles().size());
  fmt::print("| {} | {:.2f} s, peak {:.0f} MB, {:.0f} bytes a handle more than an empty process |\n", what,
             timer.seconds(), peak_mb(), (peak_mb() - before) * 1048576 / count);
}

void snapshot(const fs::path& folder) {
  Disk from(folder / "a.db"), to(folder / "b.db");
  const auto genesis = must(Ledger::from_genesis(read_genesis(folder)));
  const auto ledger = must(load_ledger(read_genesis(folder), from.store()));
  double serving = 0, questions = 0, bytes = 0;
  const Timer timer;
  SnapshotFetch fetch(genesis, to.store(), 1);
  using Stage = SnapshotFetch::Stage;
  while (fetch.stage() != Stage::ready && fetch.stage() != Stage::replay) {
    const auto ask = fetch.ask();
    const Timer server;
    const auto part = encode_part(answer_ask(*decode_ask(ask), ledger, from.store()));
    serving += server.seconds();
    bytes += static_cast<double>(part.size());
    ++questions;
    must(fetch.take(part, 0));
  }
  if (fetch.stage() == Stage::replay) give_up("the history is too short for a snapshot: more handles are needed");
  const auto fetched = must(fetch.finish(genesis));
  const auto taking = timer.seconds() - serving;
  if (fetched.head() != ledger.head() || fetched.map_root() != ledger.map_root()) give_up("the snapshot differs");
  to.commit();
  const auto handles = static_cast<double>(fetched.handles().size());
  fmt::print(
      "| beginning with a snapshot | {:.2f} s at who begins, {:.2f} s at who is asked, {:.0f} questions, {:.0f} "
      "bytes a handle |\n",
      taking, serving, questions, bytes / handles);
  fmt::print("| on disk, begun with a snapshot | {:.0f} bytes a handle |\n", to.bytes() / handles);
}

void prove(const fs::path& folder) {
  Disk whole(folder / "a.db"), snapshot(folder / "b.db");
  const auto genesis = read_genesis(folder);
  const auto ledger = must(load_ledger(genesis, snapshot.store()));
  const auto block = [&](std::uint64_t height) {
    return must(decode_block(must(whole.store().get(Table::block, block_key(height))).value()));
  };
  const auto height = ledger.head().height;
  const auto newest = block(height), before = block(height - 1);
  std::size_t bytes = 0, pinned_bytes = 0, pinned_sum = 0;
  std::vector<double> seconds;
  constexpr std::size_t rounds = 1000;
  for (std::size_t i = 0; i < rounds; ++i) {
    const auto handle = name(i * 7919 % ledger.handles().size());
    HandleProof proof;
    proof.genesis = to_bytes(must(unsigned_genesis(genesis)));
    proof.block = decided_header(newest);
    proof.handle = handle;
    proof.record = encode_handle(*ledger.handle(handle));
    proof.path = ledger.prove(handle);
    const auto encoded = encode_proof(proof);
    bytes = std::max(bytes, encoded.size());
    const Timer timer;
    must(check_proof(must(decode_proof(encoded, ledger.network())), ledger.network()).map([](const auto&) {}));
    seconds.push_back(timer.seconds());

    proof.genesis.clear();
    proof.pinned = {decided_header(before).header, ledger.witnesses()};
    const auto from_pinned = encode_proof(proof);
    must(check_proof(proof, ledger.network(), Checkpoint{height - 1, before.hash}).map([](const auto&) {}));
    pinned_bytes = std::max(pinned_bytes, from_pinned.size());
    pinned_sum += from_pinned.size();
  }
  std::ranges::nth_element(seconds, seconds.begin() + rounds / 2);
  fmt::print("| a proof from a genesis of {} witnesses | at most {} bytes, checked in {:.2f} ms (median) |\n",
             witness_count, bytes, seconds[rounds / 2] * 1000);
  fmt::print("| … from a pinned block on | {} bytes in the mean, at most {} |\n", pinned_sum / rounds, pinned_bytes);
}

// Agreement ------------------------------------------------------------------------------------------------------

/// A witness with a thread, a disk and a ledger of its own; what it sends the others get at once.
class Member final : public EntrySource {
 public:
  Member(const fs::path& file, ByteView genesis, ByteView block_1, const KeyPair& witness, std::vector<Bytes> entries)
      : disk_(file),
        ledger_(must(Ledger::from_genesis(genesis))),
        waiting_(std::move(entries)),
        agreement_(ledger_, witness, clock_, *this) {
    must(ledger_.append(block_1));
    const std::optional<Bytes> no_value;  // named, or g++ 12 warns of it with the sanitizers
    agreement_.load(std::optional(Agreement::new_memory(witness.public_key(), 2)), no_value);
  }

  std::vector<Bytes> waiting() override {
    const auto some = std::min(waiting_.size() - taken_, limits::submitted_entries_max);
    const auto first = waiting_.begin() + static_cast<std::ptrdiff_t>(taken_);
    return {first, first + static_cast<std::ptrdiff_t>(some)};
  }
  bool empty() const override { return taken_ == waiting_.size(); }
  void refused(const Bytes&, const Error& why) override { give_up(why.message); }

  void put(const Agreement::Send& message) {
    {
      const std::lock_guard lock(mutex_);
      inbox_.push_back(message);
    }
    came_.notify_one();
  }
  /// Until everything is in a block.
  void run(const std::vector<std::unique_ptr<Member>>& all) {
    while (!empty()) {
      agreement_.tick();
      work(all);
      std::unique_lock lock(mutex_);
      came_.wait_until(lock, agreement_.wake_at(), [this] { return !inbox_.empty(); });
      const auto messages = std::exchange(inbox_, {});
      lock.unlock();
      for (const auto& message : messages) {
        const bool vote = message.kind == Agreement::Send::Kind::vote;
        must(vote ? agreement_.on_vote(message.bytes) : agreement_.on_proposal(message.bytes));
        work(all);
      }
    }
  }
  const Ledger& ledger() const { return ledger_; }

 private:
  void work(const std::vector<std::unique_ptr<Member>>& all) {
    for (auto outputs = agreement_.take(); !outputs.empty(); outputs = agreement_.take())
      for (auto& output : outputs) {
        if (auto* persist = std::get_if<Agreement::Persist>(&output)) {
          disk_.store().put(Table::meta, to_bytes("memory"), std::move(persist->memory));
          if (persist->value) disk_.store().put(Table::meta, to_bytes("value"), std::move(*persist->value));
          disk_.commit();
        } else if (auto* message = std::get_if<Agreement::Send>(&output)) {
          for (const auto& other : all)
            if (other.get() != this) other->put(*message);
        } else if (auto* made = std::get_if<Agreement::Decided>(&output)) {
          const auto before = ledger_.entry_count();
          must(ledger_.append(made->block));
          disk_.store().put(Table::block, block_key(ledger_.head().height), made->block);
          disk_.commit();
          taken_ += ledger_.entry_count() - before;  // all have them in one order
          agreement_.on_head();
        }
      }
  }

  Disk disk_;
  Ledger ledger_;
  SystemClock clock_;
  const std::vector<Bytes> waiting_;
  std::size_t taken_ = 0;
  Agreement agreement_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Agreement::Send> inbox_;
};

void agree(const fs::path& folder) {
  constexpr std::size_t founders = 400, registrations = 10'000, members = 4;
  std::vector<KeyPair> witnesses;
  Genesis genesis;
  for (std::size_t i = 0; i < members; ++i) {
    witnesses.push_back(key(i, 9));
    genesis.witnesses.push_back(witnesses.back().public_key());
  }
  const auto now = SystemClock().wall_ms();
  genesis.time = now;
  for (std::uint64_t i = 0; i < founders; ++i)
    genesis.founding.push_back(make_register(home(i), {}, {}, key(i, 1), {key(i, 3)}, nullptr));
  const auto bytes = encode_genesis(genesis, witnesses);
  auto ledger = must(Ledger::from_genesis(bytes));
  const auto first = must(ledger.propose(genesis.founding, now));
  const auto block_1 = decided(first, witnesses);
  must(ledger.append(block_1));
  std::vector<Bytes> entries;
  for (std::uint64_t next = founders; entries.size() < registrations; ++next)
    entries.push_back(let_in(next, (next - founders) / 5, ledger, now + day_ms));

  std::vector<std::unique_ptr<Member>> all;
  for (std::size_t i = 0; i < members; ++i)
    all.push_back(
        std::make_unique<Member>(folder / fmt::format("witness-{}.db", i), bytes, block_1, witnesses[i], entries));
  const Timer timer;
  std::vector<std::thread> threads;
  for (auto& member : all) threads.emplace_back([&] { member->run(all); });
  for (auto& thread : threads) thread.join();
  const auto seconds = timer.seconds();
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto cpu = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  for (const auto& member : all)
    if (member->ledger().map_root() != all[0]->ledger().map_root()) give_up("the witnesses differ");
  fmt::print(
      "| four witnesses agree, a thread each | {} entries in {} blocks, {:.1f} s: {:.0f} entries/s, {:.0f} µs of CPU "
      "an "
      "entry at each |\n",
      registrations, all[0]->ledger().head().height - 1, seconds, registrations / seconds,
      cpu * 1e6 / (registrations * members));
}

/// Runs this program again for one step.
void run_step(const char* self, const char* step, const fs::path& folder, std::uint64_t handles) {
  std::fflush(stdout);
  const auto child = fork();
  if (child == 0) {
    execl("/proc/self/exe", self, "--step", step, "--folder", folder.c_str(), "--handles",
          std::to_string(handles).c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) give_up(fmt::format("step '{}' failed", step));
}

}  // namespace

int main(int argc, char** argv) {
  crypto_init();
  CLI::App app("What a ledger of so many handles costs, as a table.");
  std::uint64_t handles = 10'000;
  std::string folder, step;
  app.add_option("--handles", handles)
      ->check(CLI::Range(std::uint64_t{2000}, std::uint64_t{10'000'000}))
      ->capture_default_str();
  app.add_option("--folder", folder, "where the databases are made; a new one in /tmp if none is given");
  app.add_option("--step", step, "one step only: make, replay, snapshot, load, prove, agree");
  CLI11_PARSE(app, argc, argv);
  if (step == "make") return make(folder, handles), 0;
  if (step == "replay") return load(folder, "a.db", "replaying everything from the genesis"), 0;
  if (step == "snapshot") return snapshot(folder), 0;
  if (step == "load") return load(folder, "b.db", "starting again from the snapshot on disk"), 0;
  if (step == "prove") return prove(folder), 0;
  if (step == "agree") return agree(folder), 0;
  const bool own = folder.empty();
  if (own) folder = fs::temp_directory_path() / fmt::format("diot-ledger-bench-{}", getpid());
  fs::create_directories(folder);
  fmt::print("| {} handles | measured |\n|---|---|\n", handles);
  for (const char* one : {"make", "replay", "snapshot", "load", "prove", "agree"})
    run_step(argv[0], one, folder, handles);
  if (own) fs::remove_all(folder);
}
