/**
 * What a kernel's real-mode code finds in the place of a BIOS when the machine has no firmware: interrupt vectors that lead somewhere, the map of
 * memory (INT 15H, AX=E820H, AX=E801H, AH=88H), its size (INT 12H), moving blocks of it beyond 1 MiB (INT 15H, AH=87H), equipment (INT 11H), the clock's
 * ticks (INT 8, INT 1AH) and characters to the serial port (INT 10H, AH=0EH). Everything else answers "unsupported": carry set, AH = 86H. There are no keys, no disks and no network.
 */
import type { GuestMemory } from '@visorkit/core';
import { e820Entries, listing, ramFrom } from '@visorkit/machine';
import type { MemoryMapEntry } from '@visorkit/machine';

/** In the segment of a PC's BIOS, behind what other tables need of it. */
const SEGMENT = 0xf000;
const OFFSET = 0xe000;
const CODE = SEGMENT * 16 + OFFSET;

/** Begins with the interrupt controllers (vectors 8 and 70H) and the timer (18.2 Hz) as a BIOS leaves them, then jumps to the kernel. */
const CODE_LISTING = `
                       | start:
  b011                 | mov al,0x11
  e620                 | out 0x20,al
  e6a0                 | out 0xa0,al
  b008                 | mov al,8
  e621                 | out 0x21,al
  b070                 | mov al,0x70
  e6a1                 | out 0xa1,al
  b004                 | mov al,4
  e621                 | out 0x21,al
  b002                 | mov al,2
  e6a1                 | out 0xa1,al
  b001                 | mov al,1
  e621                 | out 0x21,al
  e6a1                 | out 0xa1,al
  b0f8                 | mov al,0xf8
  e621                 | out 0x21,al
  b0ff                 | mov al,0xff
  e6a1                 | out 0xa1,al
  b036                 | mov al,0x36
  e643                 | out 0x43,al
  b000                 | mov al,0
  e640                 | out 0x40,al
  e640                 | out 0x40,al
  31c0                 | xor ax,ax
  2eff2e94e1           | jmp far [cs:table-12]
                       | unsupported:
  55                   | push bp
  89e5                 | mov bp,sp
  804e0601             | or byte [bp+6],1
  5d                   | pop bp
  b486                 | mov ah,0x86
  cf                   | iret
                       | good:
  55                   | push bp
  89e5                 | mov bp,sp
  806606fe             | and byte [bp+6],0xfe
  5d                   | pop bp
  cf                   | iret
                       | timer:
  1e                   | push ds
  50                   | push ax
  31c0                 | xor ax,ax
  8ed8                 | mov ds,ax
  66ff066c04           | inc dword [0x46c]
  eb0a                 | jmp short master
                       | irq_slave:
  1e                   | push ds
  50                   | push ax
  b020                 | mov al,0x20
  e6a0                 | out 0xa0,al
  eb04                 | jmp short eoi
                       | irq_master:
  1e                   | push ds
  50                   | push ax
                       | master:
  b020                 | mov al,0x20
                       | eoi:
  e620                 | out 0x20,al
  58                   | pop ax
  1f                   | pop ds
  cf                   | iret
                       | int10:
  80fc0e               | cmp ah,0x0e
  75c9                 | jne unsupported
  52                   | push dx
  50                   | push ax
  bafd03               | mov dx,0x3fd
  ec                   | .w: in al,dx
  a820                 | test al,0x20
  74fb                 | jz .w
  58                   | pop ax
  b2f8                 | mov dl,0xf8
  ee                   | out dx,al
  5a                   | pop dx
  ebc3                 | jmp good
                       | int11:
  b81004               | mov ax,0x410
  eb03                 | jmp short word_of_bda
                       | int12:
  b81304               | mov ax,0x413
                       | word_of_bda:
  1e                   | push ds
  53                   | push bx
  31db                 | xor bx,bx
  8edb                 | mov ds,bx
  89c3                 | mov bx,ax
  8b07                 | mov ax,[bx]
  5b                   | pop bx
  1f                   | pop ds
  cf                   | iret
                       | int16:
  55                   | push bp
  89e5                 | mov bp,sp
  804e0640             | or byte [bp+6],0x40
  5d                   | pop bp
  31c0                 | xor ax,ax
  cf                   | iret
                       | int1a:
  08e4                 | or ah,ah
  7594                 | jnz unsupported
  1e                   | push ds
  50                   | push ax
  31c0                 | xor ax,ax
  8ed8                 | mov ds,ax
  8b166c04             | mov dx,[0x46c]
  8b0e6e04             | mov cx,[0x46e]
  58                   | pop ax
  1f                   | pop ds
  b000                 | mov al,0
  eb8b                 | jmp good
                       | int15:
  3d20e8               | cmp ax,0xe820
  742c                 | je e820
  3d01e8               | cmp ax,0xe801
  740f                 | je e801
  80fc87               | cmp ah,0x87
  0f846500             | je near block_move
  80fc88               | cmp ah,0x88
  7414                 | je x88
  e967ff               | jmp unsupported
                       | e801:
  2e8b0e9ae1           | mov cx,[cs:table-6]
  2e8b169ce1           | mov dx,[cs:table-4]
  89c8                 | mov ax,cx
  89d3                 | mov bx,dx
  e961ff               | jmp good
                       | x88:
  2ea19ee1             | mov ax,[cs:table-2]
  e95aff               | jmp good
                       | e820:
  6681fa50414d53       | cmp edx,0x534d4150
  0f8544ff             | jne unsupported
  2e3b1e98e1           | cmp bx,[cs:table-8]
  0f833bff             | jae unsupported
  1e                   | push ds
  56                   | push si
  57                   | push di
  0e                   | push cs
  1f                   | pop ds
  6bf314               | imul si,bx,20
  81c6a0e1             | add si,table
  b90a00               | mov cx,10
  fc                   | cld
  f3a5                 | rep movsw
  5f                   | pop di
  5e                   | pop si
  43                   | inc bx
  3b1e98e1             | cmp bx,[table-8]
  1f                   | pop ds
  7202                 | jb .more
  31db                 | xor bx,bx
                       | .more:
  660fb7db             | movzx ebx,bx
  66b914000000         | mov ecx,20
  66b850414d53         | mov eax,0x534d4150
  e915ff               | jmp good
                       | block_move:
  6660                 | pushad
  1e                   | push ds
  06                   | push es
  06                   | push es
  1f                   | pop ds
  e492                 | in al,0x92
  50                   | push ax
  0c02                 | or al,2
  e692                 | out 0x92,al
  c744082f00           | mov word [si+8],0x2f
  6631c0               | xor eax,eax
  8cc0                 | mov ax,es
  66c1e004             | shl eax,4
  660fb7d6             | movzx edx,si
  6601d0               | add eax,edx
  6689440a             | mov [si+10],eax
  66c74428ffff0000     | mov dword [si+0x28],0xffff
  66c7442c00930000     | mov dword [si+0x2c],0x9300
  660f015408           | o32 lgdt [si+8]
  0f20c0               | mov eax,cr0
  40                   | inc ax
  0f22c0               | mov cr0,eax
  bb1000               | mov bx,0x10
  8edb                 | mov ds,bx
  b318                 | mov bl,0x18
  8ec3                 | mov es,bx
  31f6                 | xor si,si
  31ff                 | xor di,di
  fc                   | cld
  f3a5                 | rep movsw
  b328                 | mov bl,0x28
  8edb                 | mov ds,bx
  8ec3                 | mov es,bx
  48                   | dec ax
  0f22c0               | mov cr0,eax
  58                   | pop ax
  e692                 | out 0x92,al
  07                   | pop es
  1f                   | pop ds
  6661                 | popad
  b400                 | mov ah,0
  e9adfe               | jmp good
`;

/** Behind the code: the entry of the kernel, the number of entries, what E801H and 88H answer, and the entries. */
const TABLE = 0x1a0;
const FAR_ENTRY = TABLE - 12;

const VECTORS: Readonly<Record<number, string>> = {
  0x08: 'timer',
  0x10: 'int10',
  0x11: 'int11',
  0x12: 'int12',
  0x15: 'int15',
  0x16: 'int16',
  0x1a: 'int1a',
};

/** Puts the services in memory. Gives where they begin; they go on at `entry`. */
export function writeRealModeServices(
  memory: GuestMemory,
  memoryMap: readonly MemoryMapEntry[],
  entry: { readonly segment: number; readonly offset: number },
): { segment: number; offset: number } {
  const code = listing(CODE_LISTING);
  const entries = e820Entries(memoryMap);
  const image = new Uint8Array(TABLE + entries.length);
  const view = new DataView(image.buffer);
  image.set(code.bytes);
  image.set(entries, TABLE);
  const above = (from: number, unit: number, most: number): number => Math.min(ramFrom(memoryMap, from) / unit, most);
  const words = [
    entry.offset,
    entry.segment,
    memoryMap.length,
    above(0x10_0000, 1024, 0x3c00),
    above(0x100_0000, 0x1_0000, 0xffff),
    above(0x10_0000, 1024, 0xffff),
  ];
  words.forEach((word, index) => view.setUint16(FAR_ENTRY + index * 2, word, true));
  memory.write(CODE, image);
  for (let vector = 0; vector < 256; vector++) {
    const isMaster = vector > 0x08 && vector < 0x10;
    const isSlave = vector >= 0x70 && vector < 0x78;
    const label = VECTORS[vector] ?? (isMaster ? 'irq_master' : isSlave ? 'irq_slave' : 'unsupported');
    memory.writeU16(vector * 4, OFFSET + code.at(label));
    memory.writeU16(vector * 4 + 2, SEGMENT);
  }
  return { segment: SEGMENT, offset: OFFSET };
}
