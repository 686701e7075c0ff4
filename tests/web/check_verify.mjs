// The public verification pages as people meet them: a real browser, a cheap phone and a desk, both languages.
// Scripts are off wherever a person would not notice; they are on only for axe.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { require } from './modules.mjs';

const { AxeBuilder } = require('@axe-core/playwright');
const run = promisify(execFile);

const PHONE = { width: 360, height: 640 };
const DESK = { width: 1280, height: 800 };
const PAGE_BYTES_MAX = 12 * 1024;

/// Pages by name: path, status, and the heading in both languages.
async function outcomes(dir) {
  const receipts = (await readdir(join(dir, 'receipts'))).filter((name) => name.endsWith('.txt')).sort();
  const qr = (await readFile(join(dir, 'receipts', receipts[0]), 'utf8')).trim();
  const genuine = qr.slice(qr.indexOf('/v?'));
  const credited = await Promise.all(receipts.map(async (name) => {
    const text = (await readFile(join(dir, 'receipts', name), 'utf8')).trim();
    return text.slice(text.indexOf('/v?'));
  }));
  const changed = genuine.replace(/&t=(\d)/, (_, digit) => `&t=${(Number(digit) + 1) % 9 + 1}`);
  assert.notEqual(changed, genuine);
  return {
    genuine: { path: genuine, status: 200, fr: 'Reçu authentique', en: 'Genuine receipt' },
    credit: { path: credited.find((path) => path.includes('k=credit_note')), status: 200, fr: 'Reçu authentique', en: 'Genuine receipt' },
    tampered: { path: changed, status: 200, fr: 'Reçu falsifié', en: 'Tampered receipt' },
    unknown: { path: '/v?fn=KIN-GOMBE-99999&auth_code=0000-0000-0000-0000', status: 200, fr: 'Reçu introuvable', en: 'Receipt not found' },
    form: { path: '/v', status: 200, fr: 'Vérifier un reçu', en: 'Verify a receipt' },
    incomplete: { path: '/v?fn=KIN-GOMBE-1&auth_code=', status: 400, fr: 'Vérifier un reçu', en: 'Verify a receipt' },
    unreadable: { path: genuine.slice(0, -5), status: 400, fr: 'Code illisible', en: 'Unreadable code' },
    missing: { path: '/nowhere', status: 404, fr: 'Page introuvable', en: 'Page not found' },
  };
}

/// Opens a page and checks what goes for every page; the caller closes its context.
async function open(browser, gateway, path, { language, viewport, scripts, status, heading, first }) {
  const context = await browser.newContext({ locale: language, viewport, javaScriptEnabled: scripts });
  const page = await context.newPage();
  const [asked, complaints] = [[], []];
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await first?.();
  const response = await page.goto(gateway + path);
  assert.equal(response.status(), status, path);
  const bytes = (await response.body()).length;
  assert.ok(bytes < PAGE_BYTES_MAX, `${path} has ${bytes} bytes`);
  assert.deepEqual(asked, [gateway + path], 'nothing else is loaded');
  // Chromium notes a status of 400 and more in its console; anything else would be a breach of the policy.
  assert.deepEqual(complaints.filter((text) => !text.startsWith('Failed to load resource')), []);
  assert.equal((await page.locator('h1').innerText()).trim(), heading, path);
  assert.equal(await page.locator('h1').count(), 1, path);
  return { context, page };
}

async function fits(page, width) {
  const box = await page.locator('body').evaluate((body) => body.ownerDocument.documentElement.scrollWidth);
  assert.ok(box <= width, `${box} pixels on a screen of ${width}`);
}

/// The checks, by name, in the order in which they run: the last one uses up what the address may ask.
export async function checks({ browser, gateway, dir, shots }) {
  const all = [];
  const pages = await outcomes(dir);
  for (const [name, { path, status, ...headings }] of Object.entries(pages)) {
    for (const language of ['fr', 'en']) {
      all.push([`${name} ${language}: without scripts on a phone, with axe on a desk`, async () => {
        const heading = headings[language];
        const phone = await open(browser, gateway, path, { language, viewport: PHONE, scripts: false, status, heading });
        await phone.page.screenshot({ path: join(shots, `${name}-${language}-phone.png`), fullPage: true });
        await phone.context.close();
        const desk = await open(browser, gateway, path, { language, viewport: DESK, scripts: true, status, heading });
        await desk.page.screenshot({ path: join(shots, `${name}-${language}-desk.png`) });
        await fits(desk.page, DESK.width);
        await desk.page.setViewportSize(PHONE);
        await fits(desk.page, PHONE.width);
        const found = await new AxeBuilder({ page: desk.page }).analyze();
        assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), []);
        assert.ok(found.passes.length > 10, 'axe has looked');
        await desk.context.close();
      }]);
    }
  }
  all.push(['the form works without scripts, and the other language is a link away', async () => {
    const { form, unknown } = pages;
    const { context, page } = await open(browser, gateway, form.path, { language: 'fr', viewport: PHONE, scripts: false, status: 200, heading: form.fr });
    await page.getByLabel('Numéro fiscal').fill('KIN-GOMBE-99999');
    await page.getByLabel('Code d’authentification').fill('0000 0000 0000 0000');
    await page.getByRole('button', { name: 'Vérifier' }).click();
    assert.equal(await page.locator('h1').innerText(), unknown.fr);
    await page.getByRole('link', { name: 'English' }).click();
    assert.equal(await page.locator('h1').innerText(), unknown.en);
    assert.equal(await page.locator('html').getAttribute('lang'), 'en');
    await context.close();
  }]);
  all.push(['the outcome is told by more than colour', async () => {
    const shapes = new Set();
    for (const name of ['genuine', 'tampered', 'unknown']) {
      const { path, fr } = pages[name];
      const { context, page } = await open(browser, gateway, path, { language: 'fr', viewport: PHONE, scripts: false, status: 200, heading: fr });
      shapes.add(await page.locator('.outcome svg').first().innerHTML());
      await context.close();
    }
    assert.equal(shapes.size, 3);
  }]);
  all.push(['too many checks: a page that says so, in both languages', async () => {
    const { path } = pages.unknown;
    const ask = () => fetch(gateway + path).then((answer) => answer.status);
    // One comes back every two seconds, so somebody else goes on asking until the page is there.
    let asking = true;
    const flood = async () => { while (asking) await ask(); };
    const first = async () => {
      const asked = await Promise.all(Array.from({ length: 60 }, ask));
      assert.ok(asked.includes(429), asked.join(' '));
    };
    const flooding = [flood(), flood()];
    try {
      for (const [language, heading] of [['fr', 'Trop de vérifications'], ['en', 'Too many checks']]) {
        const { context, page } = await open(browser, gateway, path, { language, viewport: PHONE, scripts: true, status: 429, heading, first });
        await page.screenshot({ path: join(shots, `limited-${language}-phone.png`), fullPage: true });
        const found = await new AxeBuilder({ page }).analyze();
        assert.deepEqual(found.violations.map(({ id }) => id), []);
        await context.close();
      }
    } finally {
      asking = false;
      await Promise.all(flooding);
    }
  }]);
  all.push(['the published keys verify a receipt without a network', async () => {
    const keys = join(shots, 'fiscal-keys.json');
    const answer = await fetch(`${gateway}/.well-known/fiscal-keys.json`);
    assert.equal(answer.status, 200);
    await writeFile(keys, await answer.text());
    const qr = `https://verify.example.cd${pages.genuine.path}`;
    const { stdout } = await run(process.env.FISCUS, ['receipt', 'verify', qr, '--keys', keys, '--json']);
    assert.equal(JSON.parse(stdout).ok, true);
    const changed = `https://verify.example.cd${pages.tampered.path}`;
    await assert.rejects(run(process.env.FISCUS, ['receipt', 'verify', changed, '--keys', keys, '--json']), { code: 1 });
  }]);
  return all;
}
