"""mosquitto_pub, mosquitto_sub and mosquitto_rr with their options, against one node, in each version they speak."""

import subprocess
import unittest

import harness

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")


class Clients(unittest.TestCase):
    def setUp(self):
        self.world = harness.World()
        self.addCleanup(self.world.__exit__, None, None, None)
        self.node = self.world.found("alice")

    def pub(self, topic, *options, version="mqttv311", input=None):
        done = subprocess.run(["mosquitto_pub", "-p", str(self.node.mqtt_port), "-t", topic, "-V", version, *options],
                              input=input, capture_output=True, text=True, timeout=harness.TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout + done.stderr

    def sub(self, *options, version="mqttv311", code=0):
        """Runs until its -C or -W ends it; returns its lines."""
        done = subprocess.run(["mosquitto_sub", "-p", str(self.node.mqtt_port), "-V", version, *options],
                              capture_output=True, text=True, timeout=harness.TIMEOUT_S)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout.splitlines()

    def listen(self, topic_filter, *options):
        """A subscriber in the background, subscribed when this returns."""
        before = self.subscriptions()
        subscriber = self.world.subscribe(self.node, topic_filter, *options)
        harness.wait_until(lambda: self.subscriptions() > before, what=f"the subscription to {topic_filter}")
        return subscriber

    def subscriptions(self):
        return self.node.json("status")["subscriptions"]

    def test_every_version_and_qos(self):
        for version in VERSIONS:
            for qos in ("0", "1", "2"):
                self.pub(f"kept/{version}/{qos}", "-m", "hello", "-r", "-q", qos, version=version)
        for version in VERSIONS:
            lines = self.sub("-t", "kept/#", "-q", "2", "-C", "9", "-F", "%t %q %r %p", version=version)
            self.assertEqual(sorted(lines), sorted(f"kept/{v}/{q} {q} 1 hello" for v in VERSIONS for q in "012"))

    def test_input_forms(self):
        listener = self.listen("in/#", "-q", "1")
        self.pub("in/null", "-n")
        self.pub("in/line", "-l", input="one\ntwo\n")
        self.pub("in/stdin", "-s", input="all of\nit")
        self.pub("in/repeated", "-m", "again", "--repeat", "3", "-q", "2")
        for line in ("in/null (null)", "in/line one", "in/line two", "in/stdin all of", "it", "in/repeated again"):
            listener.wait_for(line)
        harness.wait_until(lambda: listener.lines.count("in/repeated again") == 3, what="three repetitions")

    def test_persistent_session(self):
        for version, more in (("mqttv31", []), ("mqttv311", []), ("mqttv5", ["-x", "3600"])):
            session = ["-i", f"keeper-{version}", "-c", "-t", f"queue/{version}", "-q", "2", *more]
            self.sub(*session, "-E", version=version)
            for number in range(5):
                self.pub(f"queue/{version}", "-m", str(number), "-q", "2")
            self.assertEqual(self.sub(*session, "-C", "5", version=version), list("01234"))

    def test_retained_options(self):
        for name in "abc":
            self.pub(f"r/{name}", "-m", name, "-r", "-q", "1")
        self.assertEqual(sorted(self.sub("-t", "r/#", "--retained-only", "-v", "-C", "3")), ["r/a a", "r/b b", "r/c c"])
        self.sub("-t", "r/#", "--remove-retained", "-W", "2", code=27)
        self.assertEqual(self.sub("-t", "r/#", "-W", "1", code=27), [])

    def test_will(self):
        listener = self.listen("will")
        dying = self.world.subscribe(self.node, "nothing", "--will-topic", "will", "--will-payload", "gone", "--will-qos", "1",
                                     "-i", "dying")
        harness.wait_until(lambda: self.subscriptions() == 2, what="the dying client's subscription")
        dying.process.kill()
        listener.wait_for("will gone")

    def test_properties(self):
        listener = self.listen("p", "-V", "mqttv5", "-F", "%C|%R|%D|%E|%F|%P|%p", "-D", "subscribe", "subscription-identifier",
                               "7")
        self.pub("p", "-m", "x", "-q", "1", "-D", "publish", "content-type", "text", "-D", "publish", "response-topic", "back",
                 "-D", "publish", "correlation-data", "id", "-D", "publish", "message-expiry-interval", "100", "-D", "publish",
                 "payload-format-indicator", "1", "-D", "publish", "user-property", "z", "1", "-D", "publish",
                 "user-property", "a", "2", version="mqttv5")
        listener.wait_for("text|back|id|100|1|z:1 a:2|x")

    def test_topic_alias(self):
        listener = self.listen("a/long/topic", "-V", "mqttv5")  # mosquitto_sub 2.0.11 itself understands no aliases
        self.pub("a/long/topic", "-m", "x", "-D", "publish", "topic-alias", "3", "--repeat", "3", version="mqttv5")
        harness.wait_until(lambda: listener.lines.count("a/long/topic x") == 3, what="three messages")

    def test_shared_subscription(self):
        members = [self.listen("$share/workers/jobs/#", "-V", version) for version in VERSIONS]
        for number in range(9):
            self.pub("jobs/x", "-m", str(number), "-q", "1")
        harness.wait_until(lambda: sum(len(member.lines) for member in members) == 9, what="nine messages")
        self.assertEqual([len(member.lines) for member in members], [3, 3, 3])

    def test_request_and_response(self):
        for version in ("mqttv311", "mqttv5"):
            with subprocess.Popen(["mosquitto_rr", "-p", str(self.node.mqtt_port), "-V", version, "-t", f"ask/{version}", "-e",
                                   f"answer/{version}", "-m", "question", "-W", "30"], stdout=subprocess.PIPE, text=True,
                                  preexec_fn=harness.die_with_the_test) as asking:
                harness.wait_until(lambda: self.subscriptions() > 0, what="the subscription to the answer")
                self.pub(f"answer/{version}", "-m", "answer", version=version)
                self.assertEqual(asking.communicate(timeout=harness.TIMEOUT_S)[0].strip(), "answer")
            harness.wait_until(lambda: self.subscriptions() == 0, what="the end of the client")

    def test_sys_topics(self):
        lines = self.sub("-t", "$SYS/broker/#", "-v", "-W", "15", "-C", "40")
        names = {line.rsplit(" ", 1)[0] for line in lines}
        for name in ("bytes/received", "clients/connected", "clients/total", "load/messages/received/1min",
                     "messages/received", "heap/current"):
            self.assertTrue(any(n.startswith(f"$SYS/broker/{name}") for n in names), f"{name} is not among {names}")


if __name__ == "__main__":
    unittest.main()
