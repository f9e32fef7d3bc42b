/** Names and number forms for messages. */
export const REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

export const hex = (v: bigint | number, digits = 0): string => `0x${v.toString(16).padStart(digits, '0')}`;
/** Bytes as one little-endian number. */
export const hexBytes = (b: Uint8Array): string =>
  Array.from(b, (x) => x.toString(16).padStart(2, '0'))
    .reverse()
    .join('');

export function vectorName(v: number): string {
  const names: Record<number, string> = {
    0: '#DE',
    1: '#DB',
    3: 'done',
    4: '#OF',
    5: '#BR',
    6: '#UD',
    7: '#NM',
    8: '#DF',
    10: '#TS',
    11: '#NP',
    12: '#SS',
    13: '#GP',
    14: '#PF',
    16: '#MF',
    17: '#AC',
    19: '#XM',
    0xfe: 'system call',
    0xff: 'endless',
  };
  return names[v] ?? `vector ${v}`;
}

export function flagNames(v: number): string {
  const names: [number, string][] = [
    [0x800, 'OF'],
    [0x400, 'DF'],
    [0x100, 'TF'],
    [0x80, 'SF'],
    [0x40, 'ZF'],
    [0x10, 'AF'],
    [4, 'PF'],
    [1, 'CF'],
    [0x40000, 'AC'],
    [0x4000, 'NT'],
    [0x3000, 'IOPL'],
    [0x200000, 'ID'],
  ];
  return (
    names
      .filter(([bit]) => v & bit)
      .map(([, n]) => n)
      .join(' ') || '-'
  );
}
