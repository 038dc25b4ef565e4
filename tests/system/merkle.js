// The Merkle code beside npm's @transmute/rfc9162, an implementation of RFC 9162 that was written from its text alone.
//   node merkle.js PACKAGE proofs MERKLE_ECHO         roots and proofs of many sizes, and what becomes of broken proofs
//   node merkle.js PACKAGE tiles MERKLE_ECHO FOLDER   the files of logs of several sizes
//   node merkle.js PACKAGE export FOLDER              the files of an export by diot, and its checkpoint
// Ends with 1 and a list if something is not alike.
const [, , packageFolder, mode, ...rest] = process.argv
const rfc9162 = require(packageFolder).RFC9162
const { spawnSync } = require('child_process')
const { createHash } = require('crypto')
const fs = require('fs')
const path = require('path')

const problems = []
function alike (ours, theirs, what) {
  if (ours !== theirs && problems.length < 20) problems.push(`${what}\n  diot: ${ours}\n  npm:  ${theirs}`)
}

// Entries of all lengths, also none, and none like another.
const entries = Array.from({ length: 65537 + 300 }, (_, at) =>
  at === 0 ? new Uint8Array() : new Uint8Array(Buffer.from(createHash('sha256').update(String(at)).digest().toString('hex') + at, 'latin1').subarray(64 - at % 60)))
const hex = bytes => Buffer.from(bytes).toString('hex')
const bin = text => new Uint8Array(Buffer.from(text, 'hex'))
const told = hashes => hashes.length ? hashes.map(hex).join(' ') : '-'

function ask (program, lines) {
  const ran = spawnSync(program, { input: lines.join('\n') + '\n', encoding: 'latin1', maxBuffer: 1 << 30 })
  const answers = ran.stdout.trim().split('\n')
  if (ran.status !== 0 || answers.length !== lines.length) throw new Error(`${lines.length} questions, ${answers.length} answers: ${ran.stderr}`)
  return answers
}
const given = count => entries.slice(0, count).map(entry => 'entry ' + (hex(entry) || '-'))

// Where the old tree is a subtree of the new one, RFC 9162 leaves its root out of the proof, as the verifier has it; the
// package leaves it in, and wants it there.
const isPowerOfTwo = size => (size & (size - 1)) === 0
async function consistency (old, size) {
  const proof = await rfc9162.PROOF(old, entries.slice(0, size))
  return isPowerOfTwo(old) ? proof.slice(1) : proof
}
const extendsOther = (old, oldRoot, size, root, proof) => rfc9162.verifyConsistencyProof(oldRoot, root, { tree_size_1: old, tree_size_2: size, consistency_path: isPowerOfTwo(old) ? [oldRoot, ...proof] : proof })

const flipped = (bytes, bit) => bytes.map((byte, at) => at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)
// Each hash changed, gone and doubled; two of them in the wrong order; one too many at either end; none.
function broken (proof) {
  const extra = bin('11'.repeat(32))
  const out = [[...proof, extra], [extra, ...proof], proof.length ? [] : [extra, extra]]
  for (let at = 0; at < proof.length; at++) {
    out.push(proof.map((hash, other) => other === at ? flipped(hash, at * 37 % 256) : hash))
    out.push([...proof.slice(0, at), ...proof.slice(at + 1)])
    out.push([...proof.slice(0, at), proof[at], ...proof.slice(at)])
    if (at > 0) out.push([...proof.slice(0, at - 1), proof[at], proof[at - 1], ...proof.slice(at + 1)])
  }
  return out
}

async function proofs (program) {
  const count = 601
  const questions = given(count)
  const expected = questions.map(() => 'ok')
  const add = (question, answer) => { questions.push(question); expected.push(answer) }
  const yes = is => is ? 'yes' : 'no'
  let refused = 0
  async function includes (leaf, index, size, root, proof, must) {
    // An index that is not in the tree is never there, which the package does not say of one just behind it.
    const is = index < size && await rfc9162.verifyInclusionProof(root, leaf, { log_id: '', tree_size: size, leaf_index: index, inclusion_path: proof })
    if (must !== undefined && is !== must) throw new Error('the package does not take its own proof')
    if (!is) refused++
    add(['includes', hex(leaf), index, size, hex(root), ...proof.map(hex)].join(' '), yes(is))
  }
  async function extend (old, oldRoot, size, root, proof, must) {
    const is = await extendsOther(old, oldRoot, size, root, proof)
    if (must !== undefined && is !== must) throw new Error('the package does not take its own proof')
    if (!is) refused++
    add(['extends', old, hex(oldRoot), size, hex(root), ...proof.map(hex)].join(' '), yes(is))
  }
  const sizes = [...Array(22).keys(), 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 601]
  const roots = new Map()
  for (const size of sizes) roots.set(size, await rfc9162.treeHead(entries.slice(0, size)))
  for (const size of sizes) {
    const root = roots.get(size)
    add(`root ${size}`, hex(root))
    add(`frontier ${size}`, hex(root))
    const places = size < 22 ? [...Array(size).keys()] : [0, 1, 31, 32, size >> 1, size - 2, size - 1]
    for (const index of places) {
      const leaf = await rfc9162.leaf(entries[index])
      const proof = await rfc9162.PATH(index, entries.slice(0, size))
      add(`path ${index} ${size}`, told(proof))
      await includes(leaf, index, size, root, proof, true)
      await includes(flipped(leaf, 5), index, size, root, proof, false)
      await includes(leaf, index, size, flipped(root, 255), proof, false)
      for (const other of [0, index - 1, index + 1, index ^ 2, size - 1, size]) if (other >= 0) await includes(leaf, other, size, root, proof)
      for (const other of [size - 1, size + 1, size * 2]) if (other > 0) await includes(leaf, index, other, root, proof)
      for (const wrong of broken(proof)) await includes(leaf, index, size, root, wrong)
    }
    for (const old of sizes.filter(old => old > 0 && old < size)) {
      const proof = await consistency(old, size)
      const oldRoot = roots.get(old)
      add(`consistency ${old} ${size}`, told(proof))
      await extend(old, oldRoot, size, root, proof, true)
      await extend(old, flipped(oldRoot, 0), size, root, proof, false)
      await extend(old, oldRoot, size, flipped(root, 9), proof, false)
      for (const other of [old - 1, old + 1]) if (other > 0 && other < size) await extend(other, oldRoot, size, root, proof)
      for (const other of [size - 1, size + 1]) if (other > old) await extend(old, oldRoot, other, root, proof)
      for (const wrong of broken(proof)) await extend(old, oldRoot, size, root, wrong)
    }
  }
  const answers = ask(program, questions)
  for (let at = 0; at < questions.length; at++) alike(answers[at], expected[at], questions[at].slice(0, 300))
  console.log(`${questions.length - count} questions about ${sizes.length} trees, ${refused} of them proofs to refuse`)
}

// c2sp.org/tlog-tiles: the path of a tile and of a bundle of entries.
function tilePath (level, index, width) {
  let name = String(index % 1000).padStart(3, '0')
  for (let above = Math.floor(index / 1000); above > 0; above = Math.floor(above / 1000)) name = `x${String(above % 1000).padStart(3, '0')}/${name}`
  return `tile/${level}/${name}` + (width < 256 ? `.p/${width}` : '')
}
function files (folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap(item =>
    item.isDirectory() ? files(path.join(folder, item.name)).map(below => `${item.name}/${below}`) : [item.name])
}
function bundled (bytes) {
  const out = []
  for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) out.push(new Uint8Array(bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at))))
  return out
}
// Reads a log of that size as a client of the specification does, and nothing else may lie in the folder.
async function readLog (folder, size) {
  const expected = new Set()
  const read = (level, index, width) => {
    const name = tilePath(level, index, width)
    expected.add(name)
    return fs.readFileSync(path.join(folder, name))
  }
  const log = []
  for (let at = 0; at * 256 < size; at++) log.push(...bundled(read('entries', at, Math.min(256, size - at * 256))))
  alike(log.length, size, `entries in ${folder}`)
  for (let level = 0, hashes = size, span = 1; hashes > 0; level++, hashes = Math.floor(hashes / 256), span *= 256) {
    for (let at = 0; at * 256 < hashes; at++) {
      const width = Math.min(256, hashes - at * 256)
      const tile = read(level, at, width)
      alike(tile.length, width * 32, `bytes of tile ${level}/${at}`)
      for (let of = 0; of < width; of++) {
        const from = (at * 256 + of) * span
        alike(tile.toString('hex', of * 32, of * 32 + 32), hex(await rfc9162.MTH(log.slice(from, from + span))), `tile ${level}/${at}, hash ${of}`)
      }
    }
  }
  for (const name of files(path.join(folder)).filter(name => name !== 'checkpoint')) if (!expected.has(name)) alike(name, undefined, `a file that nobody asks for in ${folder}`)
  return log
}

async function tiles (program, folder) {
  for (const size of [0, 1, 255, 256, 257, 600, 65536 + 300]) {
    const to = path.join(folder, String(size))
    fs.mkdirSync(to)
    ask(program, [...given(size), `tiles ${to}`])
    const log = await readLog(to, size)
    log.forEach((entry, at) => alike(hex(entry), hex(entries[at]), `entry ${at} of ${size}`))
    console.log(`a log of ${size} entries in ${files(to).length} files`)
  }
}

async function exported (folder) {
  const [origin, size, root] = fs.readFileSync(path.join(folder, 'checkpoint'), 'utf8').split('\n')
  const log = await readLog(folder, Number(size))
  alike(root, Buffer.from(await rfc9162.treeHead(log)).toString('base64'), `the checkpoint of ${origin}`)
  console.log(`${origin}: ${log.length} entries, root ${root}`)
}

({ proofs, tiles, export: exported })[mode](...rest).then(() => {
  problems.forEach(problem => console.log(problem))
  process.exit(problems.length ? 1 : 0)
}, error => {
  console.log(error)
  process.exit(1)
})
