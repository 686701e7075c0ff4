// The receipt of a sale as people get it: on a screen, as a file and as a picture. A scanner that other people wrote
// reads its code from each, and what it reads is genuine without a network; with one character changed it is not.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { require } from './modules.mjs';

const { AxeBuilder } = require('@axe-core/playwright');
const run = promisify(execFile);

/// A phone of few pixels, one of many, and a desk whose owner has made everything a quarter larger.
const SCREENS = {
  phone: { viewport: { width: 360, height: 640 }, deviceScaleFactor: 1 },
  sharp: { viewport: { width: 360, height: 640 }, deviceScaleFactor: 2 },
  desk: { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.25 },
};
const PAPERS = ['a4', '80', '58'];

async function scan(picture) {
  const { stdout } = await run('zbarimg', ['--quiet', '--raw', '-Sdisable', '-Sqrcode.enable', picture]);
  return stdout.trim();
}

/// Whether a text is genuine, with nothing but the published keys.
async function verify(text, keys) {
  const command = ['receipt', 'verify', text, '--keys', keys, '--json'];
  const { stdout } = await run(process.env.FISCUS, command).catch((failed) => {
    assert.ok(failed.stdout, failed.message);
    return failed;
  });
  return JSON.parse(stdout);
}

/// One character further on, of the same kind.
function changed(text, place) {
  const next = (first, length) => String.fromCharCode(first + (text.charCodeAt(place) - first + 1) % length);
  const character = text[place];
  let other = 'A';
  if (/[0-9]/.test(character)) other = next(48, 10);
  else if (/[a-z]/.test(character)) other = next(97, 26);
  else if (/[A-Z]/.test(character)) other = next(65, 26);
  return text.slice(0, place) + other + text.slice(place + 1);
}

export async function checks({ browser, gateway, key, dir, shots }) {
  const all = [];
  const as = { Authorization: `Bearer ${key}` };
  const keys = join(dir, 'fiscal-keys.json');
  const answer = await fetch(`${gateway}/api/v1/invoices`, {
    method: 'POST',
    headers: { ...as, 'Content-Type': 'application/json', 'Idempotency-Key': 'check-receipts' },
    body: await readFile(join(dir, 'sale.json')),
  });
  assert.ok([200, 201].includes(answer.status), `${answer.status}`);
  const sealed = await answer.json();
  const place = `${gateway}/api/v1/invoices/${sealed.fiscal_number}/receipt`;
  const file = async (query, name) => {
    const got = await fetch(`${place}?preview=true&${query}`, { headers: as });
    assert.equal(got.status, 200, query);
    await writeFile(join(shots, name), Buffer.from(await got.arrayBuffer()));
    return join(shots, name);
  };
  for (const [name, screen] of Object.entries(SCREENS)) {
    all.push([`the code is read from the screen (${name})`, async () => {
      const context = await browser.newContext({ ...screen, javaScriptEnabled: false, extraHTTPHeaders: as });
      const page = await context.newPage();
      await page.goto(`${place}?format=html&preview=true`);
      const picture = join(shots, `receipt-${name}.png`);
      await page.screenshot({ path: picture, fullPage: true });
      const width = await page.locator('html').evaluate((html) => html.scrollWidth);
      assert.ok(width <= screen.viewport.width, `${width} pixels on a screen of ${screen.viewport.width}`);
      await context.close();
      assert.equal(await scan(picture), sealed.qr_payload);
    }]);
  }
  for (const width of PAPERS) {
    all.push([`the code is read from a file and a picture for paper of ${width}`, async () => {
      const pdf = await file(`format=pdf&width=${width}`, `receipt-${width}.pdf`);
      await run('pdftoppm', ['-png', '-gray', '-r', '200', '-singlefile', pdf, pdf]);
      assert.equal(await scan(`${pdf}.png`), sealed.qr_payload);
      assert.equal(await scan(await file(`format=png&width=${width}`, `code-${width}.png`)), sealed.qr_payload);
    }]);
  }
  all.push(['what is read is genuine, and with one character changed it is not', async () => {
    const found = await verify(sealed.qr_payload, keys);
    assert.equal(found.ok, true, JSON.stringify(found));
    assert.equal(found.auth_code, sealed.auth_code);
    const start = sealed.qr_payload.indexOf('/v?');
    for (let at = start; at < sealed.qr_payload.length; at += 7) {
      const text = changed(sealed.qr_payload, at);
      const refused = await verify(text, keys);
      assert.equal(refused.ok, false, text);
      assert.match(refused.code, /^[A-Z_]+$/);
    }
  }]);
  all.push(['axe finds no violation on the receipt', async () => {
    const context = await browser.newContext({ ...SCREENS.phone, extraHTTPHeaders: as });
    const page = await context.newPage();
    await page.goto(`${place}?format=html&preview=true`);
    const found = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
    await context.close();
  }]);
  return all;
}
