// A headless Chromium that notices what a page complains about, and the
// reporting of cases: one JSON line each with name, ok, detail.
import { createRequire } from 'node:module';

// The JSON argument of a script: {playwright, chromium, url, provider, token, config, shots, only}.
export const bed = JSON.parse(process.argv[2]);
const { chromium } = createRequire(`${bed.playwright}/package.json`)('playwright-core');

// What went wrong on the page, what it still waits for, and the chat events it got.
export const troubles = [];
export const waiting = new Map();
export const chat = [];

const browser = await chromium.launch({ executablePath: bed.chromium, args: ['--no-sandbox', '--disable-gpu'] });
export const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
page.setDefaultTimeout(60_000);
page.on('dialog', (dialog) => dialog.accept());
page.on('console', (message) => {
  if (message.type() === 'error') troubles.push(`console: ${message.text()} ${message.location().url}`);
});
page.on('pageerror', (error) => troubles.push(`page error: ${error.message}`));
page.on('websocket', (socket) => {
  waiting.clear();
  socket.on('framesent', ({ payload }) => {
    const frame = JSON.parse(payload);
    if (frame.type === 'req') waiting.set(frame.id, frame.method);
  });
  socket.on('framereceived', ({ payload }) => {
    const frame = JSON.parse(payload);
    if (frame.event === 'chat') chat.push(frame.payload);
    if (frame.type !== 'res') return;
    if (!frame.ok) troubles.push(`${waiting.get(frame.id)}: ${frame.error.message}`);
    waiting.delete(frame.id);
  });
});

export async function until(what, condition) {
  const deadline = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`no ${typeof what === 'function' ? what() : what} within 60 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function answered() {
  await until(() => `answer to ${[...waiting.values()]}`, () => waiting.size === 0);
}

export const shot = (name) => page.screenshot({ path: `${bed.shots}/${name}.png` });

// Runs the cases; `tolerated` tells which complaints of the page are none.
export async function run(cases, tolerated = () => false) {
  const wanted = new RegExp(bed.only || '.');
  for (const [name, action] of Object.entries(cases)) {
    if (!wanted.test(name) && !name.startsWith('a link')) continue;
    let detail = '';
    troubles.length = 0;
    try {
      await action();
      detail = troubles.filter((trouble) => !tolerated(trouble)).join('; ');
    } catch (error) {
      detail = [error.message.slice(0, 600), ...troubles].join('; ');
      await shot(`failed-${name.replace(/\W+/g, '-')}`).catch(() => {});
    }
    console.log(JSON.stringify({ name, ok: !detail, detail }));
  }
  await browser.close();
}
