/** Sockets: what they are bound to and connected with. */
import type { StructView } from '@visorkit/vmi';
import type { KernelBase } from './kernel.js';

/** include/linux/socket.h. */
const FAMILIES: Readonly<Record<number, string>> = {
  1: 'unix',
  2: 'inet',
  10: 'inet6',
  15: 'key',
  16: 'netlink',
  17: 'packet',
  31: 'bluetooth',
  38: 'alg',
  40: 'vsock',
  44: 'xdp',
};
/** include/linux/net.h. */
const TYPES: Readonly<Record<number, string>> = { 1: 'stream', 2: 'dgram', 3: 'raw', 5: 'seqpacket', 10: 'packet' };
/** include/uapi/linux/in.h. */
const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  58: 'icmpv6',
  132: 'sctp',
  136: 'udplite',
};
/** include/net/tcp_states.h. */
const STATES = [
  '',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  'NEW_SYN_RECV',
];
const LONGEST_PATH = 108;

export interface LinuxSocket {
  /** `inet`, `inet6`, `unix`, `netlink`, …, or its number. */
  readonly family: string;
  /** `stream`, `dgram`, `raw`, … */
  readonly type: string;
  /** `tcp`, `udp`, …; empty where the family has none. */
  readonly protocol: string;
  /** `address:port`, or a path (an abstract one with @ before it). Empty for an unbound one. */
  readonly local: string;
  readonly remote: string;
  readonly state: string;
  /** Linear address of its struct sock. */
  readonly address: bigint;
}

/** The socket of an inode (struct socket_alloc has both). Undefined for one that has been closed, and where what it is bound to is not among the types that were inferred. */
export function socketAt(kernel: KernelBase, inode: bigint): LinuxSocket | undefined {
  const sock = kernel.containing('socket_alloc', 'vfs_inode', inode).inner('socket').follow('sk');
  if (sock === undefined) return undefined;
  const common = sock.inner('__sk_common');
  const family = FAMILIES[common.number('skc_family')] ?? String(common.number('skc_family'));
  const type = TYPES[sock.number('sk_type')] ?? String(sock.number('sk_type'));
  const base = { family, type, address: sock.address };
  if (family === 'inet6' && !kernel.hasField('sock_common', 'skc_v6_daddr')) return undefined;
  if (family === 'inet' || family === 'inet6') return { ...base, ...internet(kernel, sock, common, family) };
  if (family === 'unix' && !kernel.hasField('unix_sock', 'peer')) return undefined;
  const state = STATES[common.number('skc_state')] ?? '';
  const path = family === 'unix' ? unixPath(kernel, sock.address) : '';
  const peer = family === 'unix' ? kernel.struct('unix_sock', sock.address).big('peer') : 0n;
  return { ...base, protocol: '', state, local: path, remote: peer === 0n ? '' : unixPath(kernel, peer) };
}

function internet(
  kernel: KernelBase,
  sock: StructView,
  common: StructView,
  family: string,
): Pick<LinuxSocket, 'protocol' | 'local' | 'remote' | 'state'> {
  const number = sock.number('sk_protocol');
  const address = (four: string, six: string): string =>
    family === 'inet' ? ip4(kernel, common.at(four)) : ip6(kernel, common.at(six));
  const join = (host: string, port: number): string => (family === 'inet' ? `${host}:${port}` : `[${host}]:${port}`);
  return {
    protocol: PROTOCOLS[number] ?? String(number),
    local: join(address('skc_rcv_saddr', 'skc_v6_rcv_saddr'), common.number('skc_num')),
    remote: join(address('skc_daddr', 'skc_v6_daddr'), swapped(common.number('skc_dport'))),
    state: STATES[common.number('skc_state')] ?? '',
  };
}

/** Ports of the other side are big endian. */
const swapped = (port: number): number => ((port & 0xff) << 8) | (port >> 8);

const ip4 = (kernel: KernelBase, at: bigint): string => kernel.space.bytes(at, 4).join('.');

/** RFC 5952: without leading zeros, the longest run of zeros as ::. */
function ip6(kernel: KernelBase, at: bigint): string {
  const bytes = kernel.space.bytes(at, 16);
  const words = Array.from({ length: 8 }, (_unused, index) => (bytes[2 * index] << 8) | bytes[2 * index + 1]);
  let best = { from: 0, length: 1 };
  for (let from = 0; from < 8; from++) {
    let length = 0;
    while (from + length < 8 && words[from + length] === 0) length++;
    if (length > best.length) best = { from, length };
  }
  const text = (part: readonly number[]): string => part.map((word) => word.toString(16)).join(':');
  if (best.length < 2) return text(words);
  return `${text(words.slice(0, best.from))}::${text(words.slice(best.from + best.length))}`;
}

function unixPath(kernel: KernelBase, sock: bigint): string {
  const address = kernel.struct('unix_sock', sock).follow('addr');
  if (address === undefined) return '';
  const length = Math.min(address.number('len') - 2, LONGEST_PATH);
  if (length <= 0) return '';
  const bytes = kernel.space.bytes(address.at('name') + 2n, length);
  const text = new TextDecoder().decode(bytes);
  return text.startsWith('\0') ? `@${text.slice(1)}` : text.replace(/\0.*$/s, '');
}
