#pragma once
// Disks that forget what was not synced. While a PowerCuts lives it is SQLite's default VFS: files are the real ones, and
// beside each it keeps what a disk would hold after a power cut: the bytes of the last sync, and which writes came since.
// A cut is a copy of that: `take` writes the files as they would be found, with each sector that was not synced old, new
// or torn by chance, while the program that is cut off goes on and knows nothing of it. So one run is cut in many places.
//
// A sector of 512 bytes is written as a whole or torn at one place, never changed beside what was written. A file that
// was made and never synced is there or not; a removal is final when SQLite syncs the folder next. The -shm file is memory.

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.hpp"

namespace diot {

class PowerCuts {
 public:
  explicit PowerCuts(std::uint32_t seed) : random_(seed), real_(sqlite3_vfs_find(nullptr)) {
    vfs_ = *real_;
    vfs_.pNext = nullptr;
    vfs_.zName = "power-cuts";
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
    vfs_.xOpen = [](sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
      return self_->open(name, file, flags, out);
    };
    vfs_.xDelete = [](sqlite3_vfs*, const char* name, int sync_folder) {
      return self_->remove(name, sync_folder != 0);
    };
    self_ = this;
    sqlite3_vfs_register(&vfs_, 1);
  }
  ~PowerCuts() {
    sqlite3_vfs_unregister(&vfs_);
    sqlite3_vfs_register(real_, 1);
    self_ = nullptr;
  }
  PowerCuts(const PowerCuts&) = delete;
  PowerCuts& operator=(const PowerCuts&) = delete;

  /// Before each write, sync, truncation or removal, on whichever thread does it; it may call take().
  std::function<void()> at_change;
  bool syncs = true;  ///< false: a disk that says so and does nothing

  /// Writes into the folder `to` what a power cut at this moment would leave of the files in the folder `from`.
  void take(const std::filesystem::path& from, const std::filesystem::path& to) {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, disk] : names_) {
      if (std::filesystem::path(name).parent_path() != from) continue;
      if ((disk->removed || !disk->durable) && chance(2)) continue;
      const Bytes found = after_cut(*disk);
      std::ofstream out(to / std::filesystem::path(name).filename(), std::ios::binary);
      out.write(reinterpret_cast<const char*>(found.data()), static_cast<std::streamsize>(found.size()));
    }
  }
  /// One in `of`, by this object's own dice.
  bool chance(std::uint32_t of) { return random_() % of == 0; }

 private:
  static constexpr std::size_t sector_bytes = 512;
  struct Change {
    std::size_t at = 0;  ///< of a truncation: the new size
    Bytes bytes;
    bool truncates = false;
  };
  struct Disk {
    Bytes synced;
    std::vector<Change> changes;  ///< since then
    bool durable = false;         ///< its name is
    bool removed = false;         ///< its name may be there again
  };
  struct File {
    sqlite3_file base;
    Disk* disk;  ///< null: nothing that would be there after a cut (memory, temporary files)
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };

  static void apply(Bytes& content, const Change& change) {
    if (change.truncates) return content.resize(std::min(content.size(), change.at));
    content.resize(std::max(content.size(), change.at + change.bytes.size()));
    std::ranges::copy(change.bytes, content.begin() + static_cast<std::ptrdiff_t>(change.at));
  }

  /// What was not synced reached the disk sector by sector, in any order, or not at all.
  Bytes after_cut(const Disk& disk) {
    Bytes content = disk.synced;
    const std::uint32_t lucky = random_() % 4;  // nothing, a few, most, or all of it
    for (const Change& change : disk.changes) {
      if (change.truncates) {
        if (random_() % 3 < lucky) apply(content, change);
        continue;
      }
      for (std::size_t from = 0; from < change.bytes.size();) {
        const std::size_t room = sector_bytes - (change.at + from) % sector_bytes;
        std::size_t size = std::min(room, change.bytes.size() - from);
        const std::size_t next = from + size;
        if (random_() % 3 < lucky) {
          if (lucky < 3 && chance(8)) size = 1 + random_() % size;  // torn
          Change part{change.at + from, {}, false};
          part.bytes.assign(change.bytes.begin() + static_cast<std::ptrdiff_t>(from),
                            change.bytes.begin() + static_cast<std::ptrdiff_t>(from + size));
          apply(content, part);
        }
        from = next;
      }
    }
    return content;
  }

  void change_comes() {
    if (at_change) at_change();
  }

  int open(const char* name, sqlite3_file* file, int flags, int* out) {
    auto* const mine = reinterpret_cast<File*>(file);
    mine->base.pMethods = nullptr;
    mine->disk = nullptr;
    const int code = real_->xOpen(real_, name, mine->real(), flags, out);
    if (code != SQLITE_OK) return code;
    mine->base.pMethods = methods();
    if (!name || flags & (SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_TRANSIENT_DB | SQLITE_OPEN_TEMP_DB)) return code;
    const std::lock_guard lock(mutex_);
    Disk*& disk = names_[name];
    if (!disk) {
      disk = &disks_.emplace_back();
      // What was there before counts as synced.
      std::ifstream in(name, std::ios::binary);
      disk->synced.assign(std::istreambuf_iterator<char>(in), {});
      disk->durable = !disk->synced.empty();
    }
    if (std::exchange(disk->removed, false)) {  // made anew under an old name, while the removal may be forgotten
      disk->changes.push_back({0, {}, true});
      disk->durable = false;
    }
    mine->disk = disk;
    return code;
  }

  int remove(const char* name, bool sync_folder) {
    change_comes();
    const int code = real_->xDelete(real_, name, 0);
    const std::lock_guard lock(mutex_);
    if (const auto found = names_.find(name); found != names_.end()) {
      found->second->removed = true;
      if (sync_folder) names_.erase(found);
    }
    return code;
  }

  static File* of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
  static const sqlite3_io_methods* real_methods(sqlite3_file* file) { return of(file)->real()->pMethods; }

  static const sqlite3_io_methods* methods() {
    static const sqlite3_io_methods all = [] {
      sqlite3_io_methods m{};
      m.iVersion = 2;  // with -shm, without mmap
      m.xClose = [](sqlite3_file* f) { return real_methods(f)->xClose(of(f)->real()); };
      m.xRead = [](sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
        return real_methods(f)->xRead(of(f)->real(), to, size, at);
      };
      m.xWrite = [](sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
        const auto* const bytes = static_cast<const std::uint8_t*>(from);
        self_->changed(f, {static_cast<std::size_t>(at), Bytes(bytes, bytes + size), false});
        return real_methods(f)->xWrite(of(f)->real(), from, size, at);
      };
      m.xTruncate = [](sqlite3_file* f, sqlite3_int64 size) {
        self_->changed(f, {static_cast<std::size_t>(size), {}, true});
        return real_methods(f)->xTruncate(of(f)->real(), size);
      };
      m.xSync = [](sqlite3_file* f, int) { return self_->sync(f); };
      m.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) {
        return real_methods(f)->xFileSize(of(f)->real(), size);
      };
      m.xLock = [](sqlite3_file* f, int level) { return real_methods(f)->xLock(of(f)->real(), level); };
      m.xUnlock = [](sqlite3_file* f, int level) { return real_methods(f)->xUnlock(of(f)->real(), level); };
      m.xCheckReservedLock = [](sqlite3_file* f, int* out) {
        return real_methods(f)->xCheckReservedLock(of(f)->real(), out);
      };
      m.xFileControl = [](sqlite3_file* f, int what, void* with) {
        return real_methods(f)->xFileControl(of(f)->real(), what, with);
      };
      m.xSectorSize = [](sqlite3_file*) { return static_cast<int>(sector_bytes); };
      m.xDeviceCharacteristics = [](sqlite3_file*) { return 0; };  // nothing is atomic or in order
      m.xShmMap = [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
        return real_methods(f)->xShmMap(of(f)->real(), page, size, extend, out);
      };
      m.xShmLock = [](sqlite3_file* f, int offset, int n, int flags) {
        return real_methods(f)->xShmLock(of(f)->real(), offset, n, flags);
      };
      m.xShmBarrier = [](sqlite3_file* f) { real_methods(f)->xShmBarrier(of(f)->real()); };
      m.xShmUnmap = [](sqlite3_file* f, int remove) { return real_methods(f)->xShmUnmap(of(f)->real(), remove); };
      return m;
    }();
    return &all;
  }

  void changed(sqlite3_file* file, Change change) {
    if (!of(file)->disk) return;
    change_comes();
    const std::lock_guard lock(mutex_);
    of(file)->disk->changes.push_back(std::move(change));
  }

  int sync(sqlite3_file* file) {
    if (!of(file)->disk) return SQLITE_OK;
    change_comes();
    const std::lock_guard lock(mutex_);
    Disk& disk = *of(file)->disk;
    if (!syncs) return SQLITE_OK;
    for (const Change& change : std::exchange(disk.changes, {})) apply(disk.synced, change);
    // With the first sync of a new file SQLite syncs its folder, and with that what was removed from there.
    if (!std::exchange(disk.durable, true))
      std::erase_if(names_, [](const auto& item) { return item.second->removed; });
    return SQLITE_OK;
  }

  static inline PowerCuts* self_ = nullptr;  // SQLite's methods carry no pointer to whom they belong

  std::mutex mutex_;  ///< the writer's thread and the reader's
  std::mt19937 random_;
  sqlite3_vfs* const real_;
  sqlite3_vfs vfs_{};
  std::deque<Disk> disks_;              ///< open files point at them
  std::map<std::string, Disk*> names_;  ///< by path
};

}  // namespace diot
