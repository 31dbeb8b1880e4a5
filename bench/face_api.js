// The other half of bench/peer.py's face_api: @vladmandic/face-api's faceExpressionNet, on one thread.
//
//     node face_api.js NODE_MODULES SIDE TIMED < FACES
//
// FACES: bytes (N, SIDE, SIDE), grey. One JSON object to standard output, as bench/peer.py describes its
// file. A face goes in as RGB tensor, as the package's own demo of this backend gives it; predictExpressions
// enlarges it to 112x112 (bilinear), takes the mean RGB away and divides by 255.

const { createRequire } = require('node:module');
const fs = require('node:fs');
const path = require('node:path');

// FER2013's words for face-api's neutral, happy, sad, angry, fearful, disgusted, surprised
const WORDS = { fearful: 'fear', disgusted: 'disgust', surprised: 'surprise' };

async function main(modules, side, timed) {
  const load = createRequire(path.join(modules, '/'));
  const faceapi = load('@vladmandic/face-api/dist/face-api.node-wasm.js');
  load('@tensorflow/tfjs-backend-wasm').setThreadsCount(1);
  await faceapi.tf.setBackend('wasm');
  await faceapi.tf.ready();
  const network = faceapi.nets.faceExpressionNet;
  await network.loadFromDisk(path.join(modules, '@vladmandic/face-api/model'));
  const faces = split(fs.readFileSync(0), side * side);

  async function classify(face) {
    const colours = new Int32Array(3 * face.length);
    face.forEach((value, i) => colours.fill(value, 3 * i, 3 * i + 3));
    const tensor = faceapi.tf.tensor3d(colours, [side, side, 3], 'int32');
    const answer = await network.predictExpressions(tensor);
    tensor.dispose();
    return answer;
  }

  const answers = [], times = [];
  for (const face of faces) answers.push(await classify(face)); // which also warms up
  for (const face of faces.slice(0, timed)) {
    const start = performance.now();
    await classify(face);
    times.push(performance.now() - start);
  }
  const layers = [...network.getParamList(), ...network.faceFeatureExtractor.getParamList()];
  return {
    probabilities: answers.map(Object.values),
    labels: Object.keys(answers[0]).map((name) => WORDS[name] ?? name),
    parameters: layers.reduce((sum, { tensor }) => sum + tensor.size, 0),
    times_ms: times,
  };
}

function split(bytes, size) {
  return Array.from({ length: bytes.length / size }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

const [modules, side, timed] = process.argv.slice(2);
main(path.resolve(modules), Number(side), Number(timed)).then((found) => console.log(JSON.stringify(found)));
