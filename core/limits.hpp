#pragma once
// Every bound of the program, with its reason; those of the ledger are in core/ledger/limits.hpp. A queue or table that is
// not bounded is a bug.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace diot::limits {

using namespace std::chrono_literals;

// MQTT ------------------------------------------------------------------------------------------------------
inline constexpr std::size_t packet_bytes_max =
    (1 << 20) + (192 << 10);                             ///< a payload of 1 MiB, its topic and properties
inline constexpr std::size_t client_id_bytes_max = 256;  ///< far above what clients use (23 to 36)
inline constexpr std::size_t clients_max = 10'000;       ///< connections at once, under the usual ulimit
inline constexpr std::size_t subscriptions_per_session_max = 10'000;
inline constexpr std::size_t topic_levels_max = 200;              ///< bounds the recursion of the trie
inline constexpr std::size_t sessions_max = 20'000;               ///< connected or kept
inline constexpr std::size_t session_queue_count_max = 100'000;   ///< messages waiting for one session …
inline constexpr std::size_t session_queue_bytes_max = 64 << 20;  ///< … and their payloads' bytes
inline constexpr std::size_t retained_count_max = 1'000'000;      ///< topics with a retained value …
inline constexpr std::size_t retained_bytes_max = 256 << 20;      ///< … and the bytes of all, which are in memory
inline constexpr std::size_t client_output_bytes_max = 4 << 20;  ///< unsent bytes of one client before QoS 0 is dropped
inline constexpr std::size_t pending_answers_max =
    8192;                                             ///< to one client while the disk works; above it it is not read
inline constexpr std::uint16_t in_flight_max = 1024;  ///< unacknowledged QoS 1/2 to one client
inline constexpr std::uint16_t topic_alias_maximum = 16;           ///< of one client to us
inline constexpr std::uint16_t topic_aliases_to_client_max = 64;   ///< of ours to one client
inline constexpr std::size_t output_high_water_bytes = 256 << 10;  ///< unsent bytes above which a queue waits
inline constexpr std::size_t spool_memory_bytes_max = 64 << 20;    ///< messages of all persistent queues kept in memory
inline constexpr std::size_t spool_batch_bytes_max = 1 << 20;      ///< read back as a whole
inline constexpr auto full_disk_patience = 10s;                    ///< a 3.1.1 client is not read, then closed
inline constexpr auto connect_deadline = 10s;                      ///< from a connection that carries MQTT to CONNECT

// Listeners and users ---------------------------------------------------------------------------------------
inline constexpr std::size_t listeners_max = 32;
inline constexpr auto client_handshake_deadline = 10s;            ///< from accept to the end of TLS and WebSocket
inline constexpr std::size_t half_open_clients_max = 256;         ///< of a listener, in those handshakes …
inline constexpr std::size_t half_open_clients_per_address = 64;  ///< … and from one address: a home reconnects at once
inline constexpr std::size_t upstreams_max = 16;
inline constexpr std::size_t upstream_topics_max = 256;
inline constexpr auto upstream_connect_deadline = 15s;              ///< a name, TCP and TLS
inline constexpr std::size_t http_head_bytes_max = 8 << 10;         ///< of a WebSocket request
inline constexpr std::size_t proxy_header_bytes_max = 2 << 10;      ///< addresses, and room for what proxies add
inline constexpr std::size_t tls_certificate_bytes_max = 32 << 10;  ///< a client's chain
inline constexpr std::size_t users_file_bytes_max = 4 << 20;        ///< passwords, PSKs or rules
inline constexpr std::size_t users_max = 10'000;
inline constexpr std::size_t acl_rules_max = 10'000;                  ///< of one user, and of patterns
inline constexpr std::size_t password_checks_max = 256;               ///< waiting for the one thread that hashes
inline constexpr std::uint32_t password_iterations_max = 10'000'000;  ///< a line that asks for more is refused
inline constexpr int login_burst_per_address = 20;                    ///< failed logins before they are slowed down …
inline constexpr int login_burst_per_user = 20;
inline constexpr auto login_refill = 5s;               ///< … to one in this time
inline constexpr std::size_t login_keys_max = 10'000;  ///< addresses and users that failed lately

// Store -----------------------------------------------------------------------------------------------------
inline constexpr std::size_t store_pending_bytes_max = 64
                                                       << 20;  ///< waiting for the disk; above it clients are not read
inline constexpr std::size_t reserve_bytes = 8 << 20;          ///< of disk, given up so that what is under way finishes
inline constexpr auto store_retry = 1s;                        ///< after a commit that the disk refused

// Batches and channel logs --------------------------------------------------------------------------------------
inline constexpr std::size_t batch_count_max = 4096;
inline constexpr std::size_t batch_body_bytes_max = 2 << 20;  ///< holds one largest MQTT packet and its record frame
inline constexpr std::size_t log_bytes_max = 64 << 20;        ///< kept per log, with log_age_max: "retention"
inline constexpr auto log_age_max = std::chrono::hours(14 * 24);
inline constexpr std::uint64_t store_bytes_max = 2ull << 30;     ///< of all logs, unless store.max says otherwise
inline constexpr std::size_t channel_cache_bytes_max = 1 << 20;  ///< newest batches kept in memory for live members
inline constexpr std::size_t shares_per_handle_max = 100;        ///< so that a catalogue fits one DHT value (64 KiB)
inline constexpr std::size_t filters_for_others_max = 64;  ///< that a member may ask us to carry, a handle and link
inline constexpr auto carry_time = std::chrono::hours(1);  ///< what nobody here reads any more stays for others so long
inline constexpr auto tombstone_age_max = std::chrono::hours(30 * 24);

// Wills across homes ----------------------------------------------------------------------------------------------
inline constexpr auto presence_interval = 10s;  ///< a node with wills set says so often that it lives …
inline constexpr auto presence_lease = 30s;     ///< … and is taken for gone after this silence: two may get lost
inline constexpr auto presence_pause_max = 5s;  ///< who did not look for longer was asleep, and heard nobody
inline constexpr std::size_t will_bytes_max = 64 << 10;             ///< of one; larger ones stay in their home
inline constexpr std::size_t wills_per_handle_max = 2000;           ///< set at once, a client one …
inline constexpr std::size_t wills_bytes_per_handle_max = 6 << 20;  ///< … and what they take in readers' memory
inline constexpr std::size_t wills_bytes_max = 48 << 20;            ///< of all handles
inline constexpr std::size_t will_proof_bytes = 1 << 10;            ///< of one, at most, beside its message
inline constexpr std::size_t wills_derived_per_second_max =
    1000;  ///< so that a large home's end does not stop the node

// Links -----------------------------------------------------------------------------------------------------
inline constexpr std::size_t frame_bytes_max = batch_body_bytes_max + (64 << 10);
inline constexpr std::size_t links_max = 256;
inline constexpr std::size_t half_open_links_max = 64;              ///< TLS handshakes at once …
inline constexpr std::size_t half_open_per_address_max = 8;         ///< … and from one address
inline constexpr std::size_t handshake_bytes_max = 16 << 10;        ///< before the peer is authenticated
inline constexpr std::size_t hello_bytes_max = 4 << 10;             ///< a frame before the peer is admitted
inline constexpr std::size_t agent_bytes_max = 64;                  ///< "diot/0.1.0" in a hello
inline constexpr std::size_t close_reason_bytes_max = 256;          ///< it goes to logs and status
inline constexpr std::size_t dials_max = 64;                        ///< under way at once
inline constexpr std::size_t dial_endpoints_max = 4;                ///< tried of the addresses that a host name has
inline constexpr std::size_t enrolling_links_max = 16;              ///< so that strangers never crowd members out …
inline constexpr std::size_t enrolling_frame_bytes_max = 64 << 10;  ///< … nor fill the memory (an entry fits) …
inline constexpr auto enrolling_link_age_max = 5min;                ///< … nor keep a place for ever
inline constexpr std::size_t link_output_bytes_max = 8 << 20;  ///< unsent control frames; above it the link is closed
inline constexpr std::size_t link_bulk_bytes_max = 1 << 20;    ///< above it batches wait in the log on disk
inline constexpr auto dial_deadline = 5s;                      ///< resolving a name, and TCP to one of its addresses
inline constexpr auto handshake_deadline = 5s;                 ///< TLS and both hellos
inline constexpr auto challenge_deadline = 5s;                 ///< a link kept against a newer one must prove it lives
inline constexpr auto link_closing_deadline = 1s;              ///< from the close frame to closing the socket
inline constexpr auto link_ping_interval = 10s;
inline constexpr auto link_silence_max = 30s;
inline constexpr auto redial_min = 250ms;
inline constexpr auto redial_max = 2s;  ///< while somebody here waits for that node
inline constexpr std::size_t addresses_per_node_max = 8;

// DHT -------------------------------------------------------------------------------------------------------
inline constexpr std::size_t directory_record_bytes_max = 60 << 10;  ///< the library takes values of 64 KiB, framed
inline constexpr std::size_t dht_store_bytes_max = 8 << 20;          ///< of other nodes' values; oldest go first
inline constexpr std::size_t dht_checks_per_second_max = 500;        ///< signatures of values to store: 3 % of a core
inline constexpr std::size_t dht_values_per_find_max = 256;          ///< above what honest nodes keep under one key
inline constexpr std::size_t dht_finds_max = 256;                    ///< at once; more are answered with nothing
inline constexpr std::size_t dht_published_max = 64;                 ///< own records
inline constexpr std::size_t dht_contacts_max = 64;                  ///< addresses to try while no node answers
inline constexpr std::size_t dht_datagrams_per_turn = 64;            ///< then the I/O thread sees to others
inline constexpr int dht_receive_buffer_bytes = 1 << 20;             ///< for a burst of parts of large values

// Control API -----------------------------------------------------------------------------------------------
inline constexpr std::size_t api_request_bytes_max = 1 << 20;
inline constexpr std::size_t api_clients_max = 64;

}  // namespace diot::limits
