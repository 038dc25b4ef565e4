// One npm `mqtt` client, driven by lines of JSON: {do: "publish", topic, payload, options} or {do: "subscribe", filter, qos}
// on standard input; events as lines of JSON on standard output. Arguments: path of the package, port, protocol version.
'use strict'
const [packagePath, port, version] = process.argv.slice(2)
const mqtt = require(packagePath)
const tell = event => process.stdout.write(JSON.stringify(event) + '\n')
const client = mqtt.connect({host: '127.0.0.1', port: Number(port), protocolVersion: Number(version), reconnectPeriod: 0})
client.on('connect', () => tell({event: 'connected'}))
client.on('error', error => tell({event: 'error', message: error.message}))
client.on('message', (topic, payload, packet) =>
  tell({event: 'message', topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain,
        properties: packet.properties}))
require('readline').createInterface({input: process.stdin}).on('line', line => {
  const order = JSON.parse(line)
  if (order.do === 'publish') {
    client.publish(order.topic, order.payload, order.options,
                   error => tell({event: 'published', payload: order.payload, code: error ? error.code : 0}))
  } else {
    client.subscribe(order.filter, {qos: order.qos},
                     (error, granted) => tell({event: 'granted', filter: order.filter, codes: granted.map(one => one.qos)}))
  }
}).on('close', () => client.end())
