// Starts a demonstration, runs every check_*.mjs against it in one browser, and stops it again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { require } from './modules.mjs';

const { chromium } = require('playwright-core');
const READY_MS = 180_000;

async function start(dir) {
  const demo = spawn(process.env.FISCUS, ['demo', '--json', '--nodes', '1', '--dir', join(dir, 'demo')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const late = setTimeout(() => demo.kill('SIGTERM'), READY_MS);
  const [line] = await Promise.race([
    once(createInterface({ input: demo.stdout }), 'line'),
    once(demo, 'exit').then(([code]) => { throw new Error(`fiscus demo ended with ${code}`); }),
  ]);
  clearTimeout(late);
  return { demo, told: JSON.parse(line) };
}

async function runAll(context) {
  let [passed, failed] = [0, 0];
  const here = new URL('.', import.meta.url);
  const files = (await readdir(here)).filter((name) => /^check_.*\.mjs$/.test(name)).sort();
  if (files.length === 0) throw new Error('there is no check_*.mjs');
  for (const file of files) {
    const { checks } = await import(new URL(file, here));
    for (const [name, check] of await checks(context)) {
      try {
        await check();
        passed += 1;
        console.log(`test ${file} ${name} ... ok`);
      } catch (error) {
        failed += 1;
        console.log(`test ${file} ${name} ... FAILED\n${error.stack}`);
      }
    }
  }
  return { passed, failed };
}

const dir = await mkdtemp(join(tmpdir(), 'fiscus-web-'));
// Whoever wants to look at the pages names a directory that stays.
const shots = process.env.FISCUS_SHOTS ?? dir;
const { demo, told } = await start(dir);
let outcome = { passed: 0, failed: 1 };
try {
  const options = { executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] };
  const browser = await chromium.launch(options);
  try {
    outcome = await runAll({ browser, gateway: told.gateway, key: told.api_key, dir: told.dir, shots });
  } finally {
    await browser.close();
  }
} finally {
  demo.kill('SIGTERM');
  if (demo.exitCode === null) await once(demo, 'exit');
  await rm(dir, { recursive: true, force: true });
}
const word = outcome.failed ? 'FAILED' : 'ok';
console.log(`test result: ${word}. ${outcome.passed} passed; ${outcome.failed} failed (web checks)`);
process.exitCode = outcome.failed ? 1 : 0;
