/**
 * An option ROM by which a PC's BIOS starts the Linux kernel of fw_cfg: SeaBIOS runs the ROMs that it finds there as files, and boots from them (BIOS Boot
 * Specification 1.01, 3.3). It copies setup code, kernel, RAM disk and command line to the addresses that the items say, by DMA, and goes on at the kernel's
 * 16-bit entry.
 */
import { listing } from '@visorkit/machine';

/** The name under which SeaBIOS looks for ROMs, and the file with the order in which it boots. */
export const LINUX_ROM_FILE = 'genroms/linuxboot.bin';
export const BOOT_ORDER_FILE = 'bootorder';
export const BOOT_ORDER = `/rom@${LINUX_ROM_FILE}\n\0`;

const SIZE = 512;

/** The DMA request is at 7B00H, where the stack ends. */
const CODE = `
  55aa01               | db 0x55,0xaa,1
  cb                   | retf ; init: nothing to do
  00000000000000000000000000000000000000000000 | times 0x1a-($-$$) db 0
  2000                 | dw pnp
  00000000             | times 0x20-($-$$) db 0
                       | pnp:
  24506e500102         | db '$PnP',1,2
  0000                 | dw 0
  00                   | db 0
  00                   | db 0
  00000000             | dd 0
  0000                 | dw 0
  4000                 | dw product
  00000000             | db 0,0,0,0
  00000000550000000000 | dw 0,0,boot,0,0
  61206b65726e656c2066726f6d2066775f63666700 | product: db 'a kernel from fw_cfg',0
                       | boot:
  fa                   | cli
  fc                   | cld
  31c0                 | xor ax,ax
  8ed8                 | mov ds,ax
  8ed0                 | mov ss,ax
  bc007b               | mov sp,REQUEST
  befc00               | mov si,blobs
                       | .next:
  2eac                 | cs lodsb
  e88200               | call number
  6689c7               | mov edi,eax
  2eac                 | cs lodsb
  e87a00               | call number
  6689c1               | mov ecx,eax
  2eac                 | cs lodsb
  660fb6c0             | movzx eax,al
  86c4                 | xchg al,ah
  660d0000000a         | or eax,0x0a000000
  66a3007b             | mov [REQUEST],eax
  660fc9               | bswap ecx
  66890e047b           | mov [REQUEST+4],ecx
  66c706087b00000000   | mov dword [REQUEST+8],0
  660fcf               | bswap edi
  66893e0c7b           | mov [REQUEST+12],edi
  ba1405               | mov dx,0x514
  6631c0               | xor eax,eax
  66ef                 | out dx,eax
  b218                 | mov dl,0x18
  66b800007b00         | mov eax,0x007b0000
  66ef                 | out dx,eax
                       | .wait:
  66f706007bfffffffe   | test dword [REQUEST],0xfeffffff
  75f5                 | jnz .wait
  81fe0801             | cmp si,blobs_end
  72a2                 | jb .next
  b016                 | mov al,0x16
  e82400               | call number
  6689c3               | mov ebx,eax
  b013                 | mov al,0x13
  e81c00               | call number
  29d8                 | sub ax,bx
  83e810               | sub ax,16
  66c1eb04             | shr ebx,4
  8edb                 | mov ds,bx
  8ec3                 | mov es,bx
  8ee3                 | mov fs,bx
  8eeb                 | mov gs,bx
  8ed3                 | mov ss,bx
  89c4                 | mov sp,ax
  83c320               | add bx,0x20
  53                   | push bx
  6a00                 | push 0
  cb                   | retf
                       | number:
  b400                 | mov ah,0
  ba1005               | mov dx,0x510
  ef                   | out dx,ax
  42                   | inc dx
  b90400               | mov cx,4
                       | .byte:
  ec                   | in al,dx
  66c1c808             | ror eax,8
  e2f9                 | loop .byte
  c3                   | ret
  1617180708110a0b12131415 | blobs: db 0x16,0x17,0x18, 0x07,0x08,0x11, 0x0a,0x0b,0x12, 0x13,0x14,0x15
                       | blobs_end:
`;

/** The ROM's bytes, 512 of them, which add up to zero. */
export function linuxRom(): Uint8Array {
  const rom = new Uint8Array(SIZE);
  rom.set(listing(CODE).bytes);
  rom[SIZE - 1] = -rom.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return rom;
}
