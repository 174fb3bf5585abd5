// The official web interface of the newest release (protocol 4): that it
// connects, holds a chat and lists sessions.
import assert from 'node:assert/strict';
import { answered, bed, chat, page, run, shot, until } from './page.mjs';

// What it asks of newer gateways alone, and shows nothing about.
const NEWER = /: unknown method: |404 .*\/workspace-icon\//;

await run(
  {
    'a link with the token connects': async () => {
      await page.goto(`${bed.url}/chat#token=${bed.token}`);
      await page.locator('textarea').first().waitFor();
      await answered();
      assert.ok(!page.url().includes(bed.token), 'the token stays in the address');
      await shot('newest-chat');
    },
    'a chat message streams': async () => {
      const box = page.locator('textarea').first();
      await box.fill('Please say quince');
      await box.press('Enter');
      await page.getByText('The word is quince today.').first().waitFor();
      await until('final event', () => chat.some((event) => event.state === 'final'));
      await answered();
      await shot('newest-answered');
    },
    'a reload shows the conversation again': async () => {
      await page.goto(`${bed.url}/chat`);
      await page.getByText('The word is quince today.').first().waitFor();
      await answered();
    },
    'the sessions are listed': async () => {
      await page.goto(`${bed.url}/sessions`);
      await page.getByText(/main/i).first().waitFor();
      await answered();
      await shot('newest-sessions');
    },
  },
  (trouble) => NEWER.test(trouble),
);
