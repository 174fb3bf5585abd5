// The official web interface of 2026.4.2 in headless Chromium, as its user.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, newDevice } from './device.mjs';
import { answered, bed, chat, page, run, shot, until, waiting } from './page.mjs';

const socketUrl = bed.url.replace('http', 'ws');

const TABS = {
  chat: 'Chat',
  overview: 'Overview',
  channels: 'Channels',
  instances: 'Instances',
  sessions: 'Sessions',
  usage: 'Usage',
  cron: 'Cron Jobs',
  agents: 'Agents',
  skills: 'Skills',
  nodes: 'Nodes',
  config: 'Config',
  communications: 'Communications',
  appearance: 'Appearance',
  automation: 'Automation',
  infrastructure: 'Infrastructure',
  'ai-agents': 'AI & Agents',
  debug: 'Debug',
  logs: 'Logs',
};

// Opens a page of the app and waits until every question it asked is answered.
async function open(tab, fragment = '') {
  waiting.clear();
  await page.goto(`${bed.url}/${tab}${fragment}`);
  const title = TABS[tab.split('?')[0]];
  await page.locator('.topbar, header').getByText(title, { exact: true }).first().waitFor();
  await until('connection', () => page.evaluate(() => document.querySelector('openclaw-app')?.connected === true));
  await settled();
}

async function settled() {
  await answered();
  await page.evaluate(() => document.querySelector('openclaw-app')?.updateComplete);
}

const config = () => JSON.parse(readFileSync(bed.config, 'utf8'));

async function send(text) {
  const box = page.locator('textarea').first();
  await box.fill(text);
  await box.press('Enter');
}

const cases = {
  'a link with the token connects': async () => {
    await open('chat', `#token=${bed.token}`);
    assert.ok(!page.url().includes(bed.token), 'the token stays in the address');
  },
};

for (const [tab, title] of Object.entries(TABS)) {
  cases[`page ${title} loads`] = async () => {
    await open(tab);
    await shot(tab);
  };
}

Object.assign(cases, {
  'a chat message streams': async () => {
    await open('chat?session=agent%3Amain%3Aerrand');
    await send('Please slowly say pineapple');
    // The rest is held back until it is asked for.
    await page.getByText('The wo').last().waitFor();
    assert.equal(await page.getByText('pineapple today.').count(), 0, 'the answer came in one piece');
    await shot('chat-streaming');
    await fetch(`${bed.provider}/release`, { method: 'POST' });
    await page.getByText('The word is pineapple today.').first().waitFor();
    await until('final event', () => chat.some((event) => event.state === 'final'));
    await settled();
    await shot('chat-answered');
  },
  'a reload shows the conversation again': async () => {
    await open('chat?session=agent%3Amain%3Aerrand');
    await page.getByText('The word is pineapple today.').first().waitFor();
  },
  'a session is renamed': async () => {
    await open('sessions');
    const label = page.getByRole('row', { name: /agent:main:errand/ }).getByPlaceholder('(optional)');
    await label.fill('Errands');
    await label.press('Tab');
    await settled();
    await open('sessions');
    assert.equal(await page.getByPlaceholder('(optional)').first().inputValue(), 'Errands');
    await shot('session-renamed');
  },
  'a session is deleted': async () => {
    await page.getByRole('row', { name: /agent:main:errand/ }).getByRole('checkbox').first().check();
    await page.getByRole('button', { name: /^Delete/ }).click();
    await settled();
    await page.getByRole('row', { name: /agent:main:errand/ }).waitFor({ state: 'detached' });
    await open('sessions');
    assert.equal(await page.getByRole('row', { name: /agent:main:errand/ }).count(), 0);
  },
  'a setting is edited and saved': async () => {
    await open('communications');
    await page.getByRole('tab', { name: 'Messages' }).click();
    const field = page.locator('.cfg-field').filter({ hasText: /^\s*Ack Reaction\s*$/ }).getByRole('textbox');
    await field.fill('👀');
    await field.press('Tab');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await settled();
    await until('saved setting', () => config().messages?.ackReaction === '👀');
    assert.equal(config().gateway.auth.token, bed.token, 'a redacted secret was saved');
    await shot('config-saved');
  },
  'a cron job is added': async () => {
    await open('cron');
    await page.getByRole('textbox', { name: /^Name/ }).fill('Morning round');
    await page.getByRole('textbox', { name: /^Assistant task prompt/ }).fill('Please say tamarind');
    await page.getByRole('combobox', { name: /^Result delivery/ }).selectOption({ label: 'None (internal)' });
    await page.getByRole('button', { name: 'Add job' }).click();
    await page.locator('.cron-job, .list-item').filter({ hasText: 'Morning round' }).first().waitFor();
    await settled();
    await shot('cron-added');
  },
  'a cron job is run': async () => {
    const job = page.locator('.cron-job, .list-item').filter({ hasText: 'Morning round' }).first();
    await job.getByRole('button', { name: 'Run', exact: true }).click();
    await settled();
    await until('run in the history', async () => {
      await page.getByRole('button', { name: 'Refresh' }).first().click();
      await settled();
      return (await page.getByText('The word is tamarind today.').count()) > 0;
    });
    await shot('cron-run');
  },
  'the log grows while it is watched': async () => {
    await open('logs');
    const refused = await connect(socketUrl, 'not-the-token', newDevice(), 'stranger');
    assert.equal(refused.ok, false);
    await page.getByText('closed before connect').first().waitFor();
    await shot('logs-tailing');
  },
  'a device is approved': async () => {
    const device = newDevice();
    const refused = await connect(socketUrl, bed.token, device, 'Travel laptop');
    assert.equal(refused.error?.message, 'pairing required');
    await open('nodes');
    await page.getByText('Travel laptop').first().waitFor();
    await page.getByText('Travel laptop').first().scrollIntoViewIfNeeded();
    await shot('device-pending');
    await page.getByRole('button', { name: 'Approve' }).first().click();
    await settled();
    const accepted = await connect(socketUrl, bed.token, device, 'Travel laptop');
    assert.ok(accepted.ok, JSON.stringify(accepted.error));
    await shot('device-approved');
  },
});

await run(cases);
