// An address that signs in a further browser of this machine.

import { copyToClipboard, query, setText } from './dom.js';
import { NO_SERVER } from './server_reply.js';

const isOnThisComputer = () => /(^|\.)localhost$|^127\.|^\[::1\]$/.test(location.hostname);
const describeAddress = () =>
  `It signs in one browser${isOnThisComputer() ? ' on this computer' : ''}, within ten minutes.`;

/** @param {import('./types.d.ts').MountContext} context */
export function mount({ element }) {
  const address = query(element, 'input', HTMLInputElement);
  const note = query(element, '[role=status]');
  query(element, '[data-plain-http]').hidden = globalThis.isSecureContext || isOnThisComputer();
  address.addEventListener('focus', () => address.select());
  query(element, 'button').addEventListener('click', async () => {
    const response = await fetch('sign-in-address', { method: 'POST' }).catch(() => null);
    address.hidden = !response?.ok;
    if (!response?.ok) return setText(note, NO_SERVER);
    address.value = await response.text();
    const isCopied = await copyToClipboard(address.value); // a page without https may not write there
    setText(note, `${isCopied ? 'Copied.' : 'Open this address there.'} ${describeAddress()}`);
  });
}

/** Who a link to this page reaches. */
export const describeLinkReach = () =>
  isOnThisComputer()
    ? 'This link works on this computer only.'
    : 'Whoever can open this page sees the setup; nothing starts.';

/**
 * The address of this page for links to share: without the host name that belongs to this computer alone.
 */
export function shareableAddress() {
  const host = location.hostname.endsWith('.localhost')
    ? location.host.replace(location.hostname, '127.0.0.1')
    : location.host;
  return `${location.protocol}//${host}${location.pathname}`;
}
