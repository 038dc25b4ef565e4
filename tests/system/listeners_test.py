"""Every kind of listener, users and rules, with real clients: mosquitto_pub/sub, paho, npm mqtt."""

import os
import signal
import subprocess
import unittest

import harness

NPM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "npm", "node_modules", "mqtt")
NPM_ROUND_TRIP = """
const mqtt = require(process.argv[1])
const [url, ca, version] = process.argv.slice(2)
const client = mqtt.connect(url, {protocolVersion: Number(version), ca: ca ? require('fs').readFileSync(ca) : undefined,
                                  reconnectPeriod: 0})
client.on('error', error => { console.error(error.message); process.exit(1) })
client.on('message', (topic, payload) => {
  console.log(payload.length)
  client.end()
})
client.on('connect', () => client.subscribe('npm/#', {qos: 1}, () => client.publish('npm/x', Buffer.alloc(200000), {qos: 1})))
"""


def make_certificates(folder):
    """ca.crt, server.crt/.key for localhost, lamp.crt/.key."""
    def openssl(*arguments):
        harness.run("openssl", *arguments)

    def path(name):
        return os.path.join(folder, name)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", path("ca.key"), "-out", path("ca.crt"), "-subj", "/CN=test ca", "-days", "2")
    for name, subject in (("server", "localhost"), ("lamp", "lamp")):
        openssl("req", *curve, "-keyout", path(name + ".key"), "-out", path(name + ".csr"), "-subj", "/CN=" + subject,
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        openssl("x509", "-req", "-in", path(name + ".csr"), "-CA", path("ca.crt"), "-CAkey", path("ca.key"), "-out",
                path(name + ".crt"), "-days", "2", "-copy_extensions", "copy")


def mosquitto(tool, *arguments, timeout_s=harness.TIMEOUT_S):
    return subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=timeout_s)


class Listeners(unittest.TestCase):
    def home(self, world, listeners, acl=None, users=()):
        """A node with these [[listener]] texts, in which {port} is a free one; self.ports has them."""
        node = world.found("alice", start=False)
        self.ports = harness.free_ports(len(listeners))
        make_certificates(node.home)
        with open(os.path.join(node.home, "diot.toml"), "a") as config:
            for port, text in zip(self.ports, listeners):
                config.write("\n[[listener]]\n" + text.replace("{port}", str(port)).replace("{home}", node.home) + "\n")
        if acl is not None:
            self.write(node, "acl", acl)
        for name, password in users:
            node.diot("user", "add", name, input=password + "\n")
        return node.start()

    def write(self, node, name, text):
        with open(os.path.join(node.home, name), "w") as file:
            file.write(text)

    def round_trip(self, *options, publisher=None, topic="t/x"):
        """A retained message that comes back through these options of mosquitto_pub and _sub."""
        done = mosquitto("mosquitto_pub", *(publisher or options), "-t", topic, "-m", "hello", "-q", "1", "-r")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = mosquitto("mosquitto_sub", *options, "-t", topic, "-C", "1", "-W", "30")
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)

    def refused(self, why, *options):
        done = mosquitto("mosquitto_pub", *options, "-t", "t", "-m", "x", "-q", "1")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(why, done.stderr)

    def test_tls_with_and_without_client_certificates(self):
        tls = 'listen = "127.0.0.1:{port}"\ncertificate = "server.crt"\nkey = "server.key"\n'
        with harness.World() as world:
            node = self.home(world, [tls, tls + 'client_ca = "ca.crt"\nrequire_certificate = true\n'
                                     'identity_as_user = true\nallow_anonymous = false\n'],
                             acl="topic #\nuser lamp\ntopic lamp/#\n")
            ca = ("-h", "localhost", "--cafile", os.path.join(node.home, "ca.crt"))
            for version in ("tlsv1.2", "tlsv1.3"):
                self.round_trip(*ca, "-p", str(self.ports[0]), "--tls-version", version)
            shown = ("--cert", os.path.join(node.home, "lamp.crt"), "--key", os.path.join(node.home, "lamp.key"))
            self.round_trip(*ca, "-p", str(self.ports[1]), *shown, topic="lamp/on")
            self.refused("", *ca, "-p", str(self.ports[1]))
            # Rules know the user by the certificate's name.
            done = mosquitto("mosquitto_pub", *ca, "-p", str(self.ports[1]), *shown, "-V", "mqttv5", "-q", "1", "-t", "door",
                             "-m", "open")
            self.assertIn("Not authorized", done.stderr + done.stdout)

    def test_pre_shared_keys(self):
        with harness.World() as world:
            node = world.found("alice", start=False)
            self.write(node, "keys", "lamp:00112233445566778899aabbccddeeff\n")
            port = harness.free_ports(1)[0]
            with open(os.path.join(node.home, "diot.toml"), "a") as config:
                config.write(f'[[listener]]\nlisten = "0.0.0.0:{port}"\npsk_file = "keys"\nidentity_as_user = true\n')
            node.start()
            key = ("--psk-identity", "lamp", "--psk", "00112233445566778899aabbccddeeff")
            self.round_trip("-p", str(port), *key)
            self.round_trip("-p", str(port), *key, "--tls-version", "tlsv1.2")
            self.refused("", "-p", str(port), "--psk-identity", "lamp", "--psk", "ff")
            self.refused("", "-p", str(port), "--psk-identity", "door", *key[2:])
            # Another key from now on; who is connected stays.
            self.write(node, "keys", "lamp:ff\n")
            node.diot("reload")
            self.refused("", "-p", str(port), *key)
            self.round_trip("-p", str(port), "--psk-identity", "lamp", "--psk", "ff")

    def test_unix_socket(self):
        with harness.World() as world:
            node = self.home(world, ['listen = "{home}/mqtt.sock"\nmode = "0600"'])
            path = os.path.join(node.home, "mqtt.sock")
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            self.round_trip("--unix", path)
            node.kill()
            self.assertTrue(os.path.exists(path))  # left behind
            node.start()
            self.round_trip("--unix", path)
            node.stop()
            self.assertFalse(os.path.exists(path))

    def test_tls_websocket_and_unix_sockets_with_npm(self):
        if not os.path.isdir(NPM):
            self.skipTest("npm's mqtt is not installed; tools/test installs it")
        with harness.World() as world:
            secure = 'certificate = "server.crt"\nkey = "server.key"'
            node = self.home(world, ['listen = "127.0.0.1:{port}"\nprotocol = "websocket"',
                                     'listen = "127.0.0.1:{port}"\nprotocol = "websocket"\n' + secure,
                                     'listen = "127.0.0.1:{port}"\n' + secure, 'listen = "{home}/npm.sock"'])
            ca = os.path.join(node.home, "ca.crt")
            for url, ca in ((f"ws://localhost:{self.ports[0]}/mqtt", ""), (f"wss://localhost:{self.ports[1]}/mqtt", ca),
                            (f"mqtts://localhost:{self.ports[2]}", ca), (f"mqtt+unix://{node.home}/npm.sock", "")):
                for version in ("4", "5"):
                    self.assertEqual(harness.run("node", "-e", NPM_ROUND_TRIP, os.path.abspath(NPM), url, ca, version),
                                     "200000\n")
            # A page of another host does not get in.
            page = subprocess.run(
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Origin: https://evil.example", "-H",
                 "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13", "-H",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H", "Sec-WebSocket-Protocol: mqtt",
                 f"http://127.0.0.1:{self.ports[0]}/"], capture_output=True, text=True, timeout=harness.TIMEOUT_S)
            self.assertEqual(page.stdout, "403")

    def test_paho_over_websocket(self):
        import paho.mqtt.client as paho

        with harness.World() as world:
            self.home(world, ['listen = "127.0.0.1:{port}"\nprotocol = "websocket"'])
            got = []
            client = paho.Client(transport="websockets")
            client.on_connect = lambda *_: client.subscribe("x", 1)
            client.on_subscribe = lambda *_: client.publish("x", "hello", 1)
            client.on_message = lambda _client, _data, message: got.append(message.payload)
            client.connect("127.0.0.1", self.ports[0])
            client.loop_start()
            world.cleanup.callback(client.loop_stop)
            harness.wait_until(lambda: got == [b"hello"])
            client.disconnect()

    def test_users_rules_and_their_reload(self):
        with harness.World() as world:
            node = self.home(world, ['listen = "0.0.0.0:{port}"'], users=[("bob", "secret"), ("ann", "pencil")],
                             acl="user bob\ntopic house/#\npattern read for/%u/%c\n")
            port = ("-p", str(self.ports[0]))
            bob = (*port, "-u", "bob", "-P", "secret")
            self.round_trip(*bob, topic="house/door")
            self.refused("not authorised", *port)
            self.refused("bad user name or password", *port, "-u", "bob", "-P", "wrong")
            self.refused("bad user name or password", *port, "-u", "eve", "-P", "secret")

            def allowed(topic):
                done = mosquitto("mosquitto_pub", *bob, "-V", "mqttv5", "-q", "1", "-t", topic, "-m", "x")
                return "Not authorized" not in done.stderr + done.stdout

            self.assertTrue(allowed("house/door"))
            self.assertFalse(allowed("garden/door"))
            # A subscriber that is connected keeps its connection while its password stays, and hears what the rules let it hear from now on.
            lines = world.subscribe(node, "#", *bob[2:], "-h", "127.0.0.1", *port, "-i", "listener")

            def delivered(topic, user, password):
                mosquitto("mosquitto_pub", *port, "-u", user, "-P", password, "-t", topic, "-m", "x", "-q", "1")

            harness.wait_until(lambda: delivered("house/probe", "bob", "secret") or "house/probe x" in lines.lines)
            self.write(node, "acl", "user bob\ntopic garden/#\nuser ann\ntopic #\n")
            node.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: allowed("garden/door"), what="the new rules")
            self.assertFalse(allowed("house/door"))
            delivered("house/secret", "ann", "pencil")
            delivered("garden/door", "ann", "pencil")
            lines.wait_for("garden/door x")
            self.assertNotIn("house/secret x", lines.lines)
            # Rules that cannot be read change nothing, and are named.
            self.write(node, "acl", "topic raed #\n")
            with self.assertRaisesRegex(harness.Failed, "acl, line 1: 'raed'"):
                node.diot("reload")
            self.assertTrue(allowed("garden/door"))
            # Users come and go without a restart.
            self.write(node, "acl", "user bob\ntopic #\n")
            node.diot("user", "passwd", "bob", input="other\n")
            self.refused("bad user name or password", *bob)
            self.round_trip(*port, "-u", "bob", "-P", "other")
            made = node.json("user", "add", "carol", "--generate")
            self.assertTrue(made["reloaded"])
            self.assertEqual(len(made["password"]), 20)
            self.assertEqual([user["user"] for user in node.json("user", "list")["users"]], ["ann", "bob", "carol"])
            node.diot("user", "remove", "bob")
            self.refused("bad user name or password", *port, "-u", "bob", "-P", "other")

    def test_without_users_nobody_else_gets_in(self):
        with harness.World() as world:
            node = world.found("alice", start=False)
            with self.assertRaisesRegex(harness.Failed, "diot user add NAME"):
                node.diot("run", "--mqtt", "0.0.0.0:1")
            with self.assertRaisesRegex(harness.Failed, "diot user add NAME"):
                node.diot("run", "--check", "--mqtt", "0.0.0.0:1")
            node.diot("user", "add", "bob", input="secret\n")
            node.diot("run", "--check", "--mqtt", "0.0.0.0:1")

    def test_mosquitto_reads_our_password_file(self):
        with harness.World() as world:
            node = world.found("alice", start=False)
            node.diot("user", "add", "bob", input="secret\n")
            port = harness.free_ports(1)[0]
            self.write(node, "mosquitto.conf", f"listener {port} 127.0.0.1\nuser root\n"
                       f"password_file {node.home}/passwords\n")
            broker = subprocess.Popen(["mosquitto", "-c", os.path.join(node.home, "mosquitto.conf")],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      preexec_fn=harness.die_with_the_test)
            world.cleanup.callback(lambda: (broker.kill(), broker.wait()))
            harness.wait_until(lambda: mosquitto("mosquitto_pub", "-p", str(port), "-u", "bob", "-P", "secret", "-t", "t", "-m",
                                                 "x").returncode == 0, what="mosquitto with our users")
            self.refused("not authorised", "-p", str(port), "-u", "bob", "-P", "wrong")


if __name__ == "__main__":
    unittest.main()
