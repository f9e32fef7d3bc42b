/** Sockets, told by open files whose inode lies in a struct with the socket before it, which leads back to the file. What they are called by their protocol proves the rest. */
import { places, single } from './infer-reader.js';
import type { Reader, Snapshot } from './infer-reader.js';
import type { InferredField, InferredTypes } from './inferred-types.js';

const FILE_BYTES = 320;
const SOCK_BYTES = 2048;
const PROTO_BYTES = 768;
const S_IFMT = 0xf000;
const S_IFSOCK = 0xc000;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** include/net/tcp_states.h. */
const ESTABLISHED = 1;
const LISTEN = 10;
const LAST_STATE = 13;
const LAST_TYPE = 10;
/** SS_DISCONNECTING. */
const LAST_SOCKET_STATE = 4;
/** Names of protocols by family (struct proto), with their numbers where they have one. */
const PROTOCOLS: Readonly<Record<number, Readonly<Record<string, number>>>> = {
  [AF_UNIX]: { UNIX: 0, 'UNIX-STREAM': 0 },
  [AF_INET]: { TCP: 6, UDP: 17, PING: 1, 'UDP-Lite': 136 },
  [AF_INET6]: { TCPv6: 6, UDPv6: 17, PINGv6: 58, UDPLITEv6: 136 },
  16: { NETLINK: -1 },
  17: { PACKET: -1 },
};
/** How struct sock_common begins, in every kernel since 3.13: addresses and ports, then two counters and links of 2 pointers (include/net/sock.h). */
const COMMON = { daddr: 0, rcv: 4, dport: 12, num: 14, family: 16, state: 18, pointers: 24 } as const;
/** 127.0.0.6, which stands for an address of IPv6 where one of IPv4 should be. */
const INSTEAD = 0x0600_007f;
const LONGEST_PATH = 110;

/** Adds socket_alloc and what it leads to; nothing where something of it cannot be told. `opened`: addresses of files, with their inodes at `inode`. */
export function inferSockets(reader: Reader, types: InferredTypes, opened: readonly bigint[], inode: number): void {
  const p = reader.pointerSize;
  const files = [...new Set(opened)]
    .map((at) => reader.some(at, FILE_BYTES))
    .filter((file) => (reader.u32(file.pointer(inode)) & S_IFMT) === S_IFSOCK);
  if (files.length === 0) return;
  // private_data leads to what has the inode in it, at the same place in each
  const data = single(
    places(0, FILE_BYTES, p, (at) => {
      const apart = files.map((file) => file.pointer(inode) - file.pointer(at));
      return apart.every((bytes) => bytes > 0n && bytes < 1024n && bytes === apart[0]);
    }),
  );
  if (data === undefined) return;
  const apart = Number(files[0].pointer(inode) - files[0].pointer(data));
  const sockets = files.map((file) => reader.some(file.pointer(data), apart));
  const back = single(
    places(8, apart - 2 * p, p, (at) => sockets.every((socket, index) => socket.pointer(at) === files[index].base)),
  );
  if (back === undefined) return;
  const open = sockets.filter((socket) => socket.pointer(back + p) !== 0n);
  if (open.length === 0 || !open.every(isSocket)) return;
  const sock = inferSock(
    reader,
    types,
    open.map((socket) => reader.some(socket.pointer(back + p), SOCK_BYTES)),
    open.map((socket) => socket.u16(TYPE)),
  );
  if (!sock) return;
  types.add('socket', [
    ['state', 0, types.u32],
    ['type', TYPE, types.u16],
    ['file', back, types.pointer('file')],
    ['sk', back + p, types.pointer('sock')],
  ]);
  types.add('socket_alloc', [
    ['socket', 0, types.named('socket')],
    ['vfs_inode', apart, types.named('inode')],
  ]);
}

/** `type` of a socket, behind its state, which is an enumeration. */
const TYPE = 4;

const isSocket = (socket: Snapshot): boolean => {
  const [state, type] = [socket.u32(0), socket.u16(TYPE)];
  return state >= 0 && state <= LAST_SOCKET_STATE && type > 0 && type <= LAST_TYPE;
};

const familyOf = (sock: Snapshot): number => sock.u16(COMMON.family);
const stateOf = (sock: Snapshot): number => sock.u16(COMMON.state) & 0xff;

/** Whether sock was added. `kinds`: the type of each, as its socket has it. */
function inferSock(
  reader: Reader,
  types: InferredTypes,
  socks: readonly Snapshot[],
  kinds: readonly number[],
): boolean {
  const p = reader.pointerSize;
  const protocolAt = COMMON.pointers + 2 * p;
  const name = single(
    places(0, PROTO_BYTES, p, (at) =>
      socks.every((sock) => {
        const text = reader.text(sock.pointer(protocolAt) + BigInt(at), 32);
        const known = PROTOCOLS[familyOf(sock)];
        return known === undefined ? text !== '' : text in known || text.startsWith('RAW');
      }),
    ),
  );
  if (name === undefined || !socks.some((sock) => familyOf(sock) in PROTOCOLS)) return false;
  const numberOf = (sock: Snapshot): number =>
    PROTOCOLS[familyOf(sock)]?.[reader.text(sock.pointer(protocolAt) + BigInt(name), 32)] ?? -1;
  const isConsistent = socks.every((sock) => {
    const state = stateOf(sock);
    if (state === 0 || state > LAST_STATE) return false;
    if (familyOf(sock) !== AF_INET) return true;
    const [to, from] = [sock.u16(COMMON.dport), sock.u16(COMMON.num)];
    return state === LISTEN
      ? to === 0 && from !== 0
      : state !== ESTABLISHED || (to !== 0 && sock.u32(COMMON.daddr) !== 0);
  });
  if (!isConsistent) return false;
  // sk_type and sk_protocol, two numbers of 16 bits since 5.6
  const type = single(
    places(protocolAt + 4 * p, SOCK_BYTES - 4, 2, (at) =>
      socks.every((sock, index) => {
        const number = numberOf(sock);
        return sock.u16(at) === kinds[index] && (number < 0 || sock.u16(at + 2) === number);
      }),
    ),
  );
  if (type === undefined) return false;
  const common: InferredField[] = [
    ['skc_daddr', COMMON.daddr, types.u32],
    ['skc_rcv_saddr', COMMON.rcv, types.u32],
    ['skc_dport', COMMON.dport, types.u16],
    ['skc_num', COMMON.num, types.u16],
    ['skc_family', COMMON.family, types.u16],
    ['skc_state', COMMON.state, types.u8],
    ['skc_prot', protocolAt, types.pointer()],
  ];
  // The network that a socket is in, and with IPv6 the other side's address and its own: where that is none, what stands instead is none as well
  const own = protocolAt + 2 * p + 16;
  const isZero = (sock: Snapshot): boolean => [0, 4, 8, 12].every((word) => sock.u32(own + word) === 0);
  const wide = socks.filter((sock) => familyOf(sock) === AF_INET6);
  const isWide = wide.every((sock) =>
    [0, INSTEAD].includes(sock.u32(COMMON.rcv)) ? isZero(sock) === (sock.u32(COMMON.rcv) === 0) : true,
  );
  if (wide.length > 0 && isWide) {
    const address = types.array(types.u8, 16);
    common.push(['skc_v6_daddr', own - 16, address], ['skc_v6_rcv_saddr', own, address]);
  }
  types.add('sock_common', common);
  types.add('sock', [
    ['__sk_common', 0, types.named('sock_common')],
    ['sk_type', type, types.u16],
    ['sk_protocol', type + 2, types.u16],
  ]);
  inferUnix(
    reader,
    types,
    socks.filter((sock) => familyOf(sock) === AF_UNIX),
    type,
  );
  return true;
}

/** unix_sock: its address, which begins with the family, and its peer, whose peer it is. Needs one that has an address, and two that are connected. */
function inferUnix(reader: Reader, types: InferredTypes, socks: readonly Snapshot[], behind: number): void {
  const p = reader.pointerSize;
  const start = behind + p - (behind % p);
  const isAddress = (at: bigint, name: number): boolean => {
    const address = reader.isPointer(at) ? reader.some(at, 16) : undefined;
    if (address === undefined) return false;
    const length = address.u32(4);
    return address.u32(0) > 0 && length > 2 && length <= LONGEST_PATH && address.u16(name) === AF_UNIX;
  };
  // Behind a counter and the length; before 6.0 there is a hash as well
  const found = [8, 12].flatMap((name) =>
    places(start, SOCK_BYTES, p, (at) => {
      const bound = socks.filter((sock) => sock.pointer(at) !== 0n);
      return bound.length > 0 && bound.every((sock) => isAddress(sock.pointer(at), name));
    }).map((at) => ({ at, name })),
  );
  const address = single(found);
  if (address === undefined) return;
  const connected = socks.filter((sock) => stateOf(sock) === ESTABLISHED);
  const peer = single(
    places(address.at + p, SOCK_BYTES, p, (at) => {
      const isMutual = connected.every(
        (sock) => sock.pointer(at) !== sock.base && reader.pointer(sock.pointer(at) + BigInt(at)) === sock.base,
      );
      const isNone = socks.every((sock) => stateOf(sock) !== LISTEN || sock.pointer(at) === 0n);
      return connected.length > 0 && isMutual && isNone;
    }),
  );
  if (peer === undefined) return;
  types.add('unix_address', [
    ['len', 4, types.i32],
    ['name', address.name, types.array(types.u8, LONGEST_PATH)],
  ]);
  types.add('unix_sock', [
    ['addr', address.at, types.pointer('unix_address')],
    ['peer', peer, types.pointer('sock')],
  ]);
}
