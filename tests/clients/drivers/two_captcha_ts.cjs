// Makes one call of the unmodified npm library `2captcha-ts`, with its sleeps shortened and its
// requests noted, and writes what came of it to a file (its own stdout belongs to the library).
'use strict';

const { writeFileSync } = require('node:fs');
const http = require('node:http');
const https = require('node:https');

const job = JSON.parse(process.argv[2]);
const slept = [];
const exchanges = [];
const outage = { startedAt: null, over: false };
const realSetTimeout = globalThis.setTimeout;

globalThis.setTimeout = (callback, milliseconds) => {
  beforeSleep().then(() => {
    slept.push(milliseconds / 1000);
    realSetTimeout(callback, milliseconds / job.factor);
  });
};

async function beforeSleep() {
  if (job.outage === null) return;
  const elapsed = slept.reduce((sum, seconds) => sum + seconds, 0);
  if (outage.startedAt === null) {
    outage.startedAt = elapsed;
    await control('down', job.outage.down);
  } else if (!outage.over && elapsed - outage.startedAt >= job.outage.seconds) {
    await control('up');
    outage.over = true;
  }
}

function control(what, body) {
  // Not `fetch`: its own timers are made with the `setTimeout` replaced above.
  return new Promise((resolve, reject) => {
    const request = http.request(`${job.outage.control}/${what}`, { method: 'POST', agent: false });
    request.setHeader('Content-Type', 'application/json');
    request.on('error', reject);
    request.on('response', (response) => {
      response.resume();
      if (response.statusCode < 300) response.on('end', resolve);
      else reject(new Error(`/-/${what}: ${response.statusCode}`));
    });
    request.end(body ? JSON.stringify(body) : undefined);
  });
}

const realRequest = https.request;
https.request = (...options) => {
  const request = realRequest(...options);
  const sent = [];
  const write = request.write.bind(request);
  const end = request.end.bind(request);
  request.write = (chunk, ...rest) => (sent.push(Buffer.from(chunk)), write(chunk, ...rest));
  request.end = (chunk, ...rest) => {
    if (chunk && typeof chunk !== 'function') sent.push(Buffer.from(chunk));
    return end(chunk, ...rest);
  };
  request.on('response', (response) => {
    const body = [];
    response.on('data', (chunk) => body.push(chunk));
    response.on('end', () =>
      exchanges.push({
        url: `https://${request.host}${request.path}`,
        sent: Buffer.concat(sent).toString(),
        status: response.statusCode,
        body: Buffer.concat(body).toString(),
        reason: response.headers['x-solvegate-reason'] ?? null,
      }),
    );
  });
  return request;
};

const constants = require('2captcha-ts/dist/structs/constants/constants.js');
constants.supportedProviders.twoCaptcha.in = `${job.server}/in.php`;
constants.supportedProviders.twoCaptcha.res = `${job.server}/res.php`;
const { Solver } = require('2captcha-ts');

new Solver(job.key)[job.method](...job.arguments)
  .then(
    (value) => ({ value }),
    (error) => ({ error: { name: error.name, err: error.err ?? error.message } }),
  )
  .then((outcome) =>
    writeFileSync(job.result, JSON.stringify({ ...outcome, slept, exchanges, outageOver: outage.over })),
  );
