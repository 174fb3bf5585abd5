// A device of its own that speaks protocol 3 over a WebSocket: what the web
// interface shows as pending, and approves, has to come from somewhere else.
import { createHash, generateKeyPairSync, randomUUID, sign } from 'node:crypto';

export function newDevice() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  return { id: createHash('sha256').update(raw).digest('hex'), publicKey: raw.toString('base64url'), privateKey };
}

// Connects through a made-up proxy, so that nothing is approved silently.
// Settles with the answer to `connect`.
export function connect(url, token, device, name) {
  const socket = new WebSocket(url, { headers: { 'x-forwarded-for': '203.0.113.9' } });
  return new Promise((resolve, reject) => {
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onclose = () => reject(new Error('closed without an answer'));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.event === 'connect.challenge') socket.send(JSON.stringify(request(frame.payload.nonce, token, device, name)));
      if (frame.type !== 'res') return;
      resolve(frame);
      socket.close();
    };
  });
}

function request(nonce, token, device, name) {
  const client = { id: 'gateway-client', displayName: name, version: '1.0.0', platform: 'linux', mode: 'backend' };
  const scopes = ['operator.read'];
  const signedAt = Date.now();
  const signed = ['v3', device.id, client.id, client.mode, 'operator', scopes.join(), signedAt, token, nonce, 'linux', ''].join('|');
  const proof = {
    id: device.id,
    publicKey: device.publicKey,
    signature: sign(null, Buffer.from(signed), device.privateKey).toString('base64url'),
    signedAt,
    nonce,
  };
  const params = { minProtocol: 3, maxProtocol: 3, client, role: 'operator', scopes, device: proof, auth: { token } };
  return { type: 'req', id: randomUUID(), method: 'connect', params };
}
