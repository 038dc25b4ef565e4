// Every packet that npm's mqtt-packet can build is decoded and encoded by packet_echo, and must mean the same to mqtt-packet
// then. node packets.js MQTT_PACKET_FOLDER PACKET_ECHO; ends with 1 and a list if one does not.
const [, , folder, program] = process.argv
const mqtt = require(folder)
const { spawnSync } = require('child_process')
const { isDeepStrictEqual, inspect } = require('util')

const all = [] // {version, packet, bytes}
function add (version, packet) {
  all.push({ version, packet, bytes: mqtt.generate(packet, { protocolVersion: version }) })
}
function subsets (object) { // each member alone, none, all
  const names = Object.keys(object)
  return [{}, object, ...names.map(name => ({ [name]: object[name] }))]
}

const user = { b: ['2', '3'], a: '1', ü: '✓' }
const messageProperties = {
  payloadFormatIndicator: true,
  messageExpiryInterval: 4321,
  responseTopic: 'answers/here',
  correlationData: Buffer.from([0, 1, 255]),
  userProperties: user,
  contentType: 'text/plain'
}
const connectProperties = {
  sessionExpiryInterval: 1234,
  receiveMaximum: 432,
  maximumPacketSize: 100,
  topicAliasMaximum: 456,
  requestResponseInformation: true,
  requestProblemInformation: false,
  userProperties: user,
  authenticationMethod: 'test',
  authenticationData: Buffer.from([1, 2, 3, 4])
}
const connackProperties = {
  sessionExpiryInterval: 1234,
  receiveMaximum: 432,
  maximumQoS: 1,
  retainAvailable: false,
  maximumPacketSize: 100,
  assignedClientIdentifier: 'test',
  topicAliasMaximum: 456,
  reasonString: 'test',
  userProperties: user,
  wildcardSubscriptionAvailable: false,
  subscriptionIdentifiersAvailable: false,
  sharedSubscriptionAvailable: false,
  serverKeepAlive: 1234,
  responseInformation: 'test',
  serverReference: 'test',
  authenticationMethod: 'test',
  authenticationData: Buffer.from([1, 2, 3, 4])
}
const payloads = ['', 'x', 'é✓', Buffer.alloc(127, 1), Buffer.alloc(128, 2), Buffer.alloc(16384, 3), Buffer.alloc(2097152, 4)] // lengths of one to four bytes
const topics = ['a', '/', 'a//b', 'ü/✓', 'x'.repeat(65535)]

for (const version of [3, 4, 5]) {
  const five = version === 5
  const lists = (properties) => five ? [undefined, ...subsets(properties)] : [undefined]
  for (const clean of [true, false]) {
    for (const keepalive of [0, 60, 65535]) {
      for (const clientId of ['c', 'ü✓', 'x'.repeat(300)]) {
        for (const login of [{}, { username: 'u' }, { username: 'u', password: Buffer.from([0, 255]) }]) {
          add(version, { cmd: 'connect', protocolId: version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: version, clean, keepalive, clientId, ...login })
        }
      }
    }
  }
  for (const bridgeMode of five ? [] : [true]) {
    add(version, { cmd: 'connect', protocolId: version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: version, clean: true, keepalive: 1, clientId: 'b', bridgeMode })
  }
  for (const properties of lists(connectProperties)) {
    if (properties && properties.authenticationData && !properties.authenticationMethod) continue // a protocol error
    for (const qos of [0, 1, 2]) {
      for (const retain of [true, false]) {
        for (const willProperties of lists({ willDelayInterval: 1234, ...messageProperties })) {
          add(version, { cmd: 'connect', protocolId: version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: version, clean: true, keepalive: 9, clientId: 'c', properties, will: { topic: 'w', payload: Buffer.from('bye'), qos, retain, properties: willProperties } })
        }
      }
    }
  }
  for (const code of five ? [0, 0x80, 0x81, 0x87, 0x8c, 0x9f] : [0, 1, 2, 3, 4, 5]) {
    for (const sessionPresent of code === 0 && version > 3 ? [true, false] : [false]) {
      for (const properties of lists(connackProperties)) {
        add(version, { cmd: 'connack', sessionPresent, ...(five ? { reasonCode: code } : { returnCode: code }), properties })
      }
    }
  }
  for (const topic of topics) {
    for (const payload of topic === 'a' ? payloads : payloads.slice(0, 4)) {
      for (const [qos, dup] of [[0, false], [1, false], [1, true], [2, false], [2, true]]) {
        for (const retain of [true, false]) {
          add(version, { cmd: 'publish', topic, payload, qos, dup, retain, messageId: qos ? 513 : undefined })
        }
      }
    }
  }
  for (const properties of lists({ ...messageProperties, topicAlias: 100, subscriptionIdentifier: [120, 268435455] })) {
    add(version, { cmd: 'publish', topic: 't', payload: 'x', qos: 2, dup: false, retain: false, messageId: 65535, properties })
  }
  const codes = { puback: [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99], pubrec: [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99], pubrel: [0, 0x92], pubcomp: [0, 0x92] }
  for (const [cmd, list] of Object.entries(codes)) {
    for (const messageId of [1, 65535]) {
      for (const reasonCode of five ? list : [undefined]) {
        for (const properties of lists({ reasonString: 'why', userProperties: user })) add(version, { cmd, messageId, reasonCode, properties })
      }
    }
  }
  const options = []
  for (const qos of [0, 1, 2]) {
    if (!five) options.push({ topic: 'a/+/#', qos })
    else for (const nl of [true, false]) for (const rap of [true, false]) for (const rh of [0, 1, 2]) options.push({ topic: '+', qos, nl, rap, rh })
  }
  for (const properties of lists({ subscriptionIdentifier: 145, userProperties: user })) {
    for (const one of options) add(version, { cmd: 'subscribe', messageId: 7, subscriptions: [one], properties })
    add(version, { cmd: 'subscribe', messageId: 7, subscriptions: options, properties })
  }
  for (const properties of lists({ userProperties: user })) {
    add(version, { cmd: 'unsubscribe', messageId: 8, unsubscriptions: ['a', 'b/#', '+/c'], properties })
  }
  for (const properties of lists({ reasonString: 'why', userProperties: user })) {
    add(version, { cmd: 'suback', messageId: 9, granted: five ? [0, 1, 2, 0x80, 0x87, 0x8f, 0x97] : [0, 1, 2, 0x80], properties })
    add(version, { cmd: 'unsuback', messageId: 10, granted: five ? [0, 0x11, 0x80] : undefined, properties })
  }
  add(version, { cmd: 'pingreq' })
  add(version, { cmd: 'pingresp' })
  for (const reasonCode of five ? [0, 4, 0x81, 0x82, 0x8b, 0x8e, 0x95] : [undefined]) {
    for (const properties of lists({ sessionExpiryInterval: 145, reasonString: 'why', userProperties: user, serverReference: 's' })) add(version, { cmd: 'disconnect', reasonCode, properties })
  }
  for (const reasonCode of five ? [0, 0x18, 0x19] : []) {
    for (const properties of subsets({ authenticationMethod: 'm', authenticationData: Buffer.from([0, 1, 2]), reasonString: 'why', userProperties: user })) add(version, { cmd: 'auth', reasonCode, properties })
  }
}

// What our codec does not keep, because nobody asks it: texts and user properties of anything but messages and CONNACK.
const dropped = { connect: ['userProperties'], puback: 2, pubrec: 2, pubrel: 2, pubcomp: 2, subscribe: ['userProperties'], unsubscribe: ['userProperties'], suback: 2, unsuback: 2, disconnect: ['userProperties', 'serverReference'], auth: 2 }
function meaning (bytes, version) {
  const parser = mqtt.parser({ protocolVersion: version })
  let found = null
  parser.on('packet', packet => { found = packet })
  parser.on('error', error => { found = { error: error.message } })
  parser.parse(bytes)
  if (!found) return null
  delete found.length
  const names = dropped[found.cmd] === 2 ? ['reasonString', 'userProperties'] : dropped[found.cmd] || []
  if (found.properties) {
    for (const name of names) delete found.properties[name]
    // What absence means may be left out.
    if (Object.keys(found.properties).length === 0) delete found.properties
  }
  if (found.will && found.will.properties && Object.keys(found.will.properties).length === 0) delete found.will.properties
  if (found.reasonCode === undefined) found.reasonCode = 0
  return JSON.parse(JSON.stringify(found))
}

const input = all.map(({ version, bytes }) => `${version} ${bytes.toString('hex')}\n`).join('')
const ran = spawnSync(program, { input, encoding: 'latin1', maxBuffer: 1 << 30 })
const lines = ran.stdout.trim().split('\n')
let wrong = lines.length === all.length ? 0 : 1
if (wrong) console.log(`${all.length} packets went in, ${lines.length} came back`)
for (let at = 0; at < all.length && wrong < 20; at++) {
  const { version, bytes } = all[at]
  const before = meaning(bytes, version)
  const after = lines[at].startsWith('error') ? lines[at] : meaning(Buffer.from(lines[at], 'hex'), version)
  if (isDeepStrictEqual(before, after)) continue
  wrong++
  console.log(`version ${version}: ${bytes.toString('hex').slice(0, 300)}\n  ${inspect(before, { depth: 4 }).slice(0, 600)}\n  ${inspect(after, { depth: 4 }).slice(0, 600)}`)
}
console.log(`${all.length} packets, ${wrong} not alike`)
process.exit(wrong ? 1 : 0)
