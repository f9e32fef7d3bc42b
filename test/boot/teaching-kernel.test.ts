/** A kernel as courses have them: Multiboot with the a.out kludge, no ACPI, text at B8000H, keys from the keyboard by the I/O APIC that the MP table names. */
import { vmx } from '@visorkit/backend-vmx';
import { PushInput, listing } from '@visorkit/machine';
import type { TextScreen } from '@visorkit/vga-text';
import { expect, it } from 'vitest';
import { assemble } from 'visorkit';

/**
 * Writes how many processors the MP table has, waits for a key, and writes "a" for that key, "!" for another. It loads a GDT with code at 8 and never CS: an
 * interrupt returns to the selector with which the loader began it.
 */
const KERNEL = listing(`
                         | header:
    02b0ad1b03000100fb4f51e4 | dd 0x1badb002, 0x10003, -(0x1badb002 + 0x10003)
    0000100000001000000000000000000020001000 | dd header, header, 0, 0, start
                         | start:
    bc00000900           | mov esp,0x90000
    0f011550011000       | lgdt [gdtr]
    bf68011000           | mov edi,idt
    b944000000           | mov ecx,0x22*2
    31c0                 | xor eax,eax
    f3ab                 | rep stosd
    b819011000           | mov eax,key
    89c2                 | mov edx,eax
    25ffff0000           | and eax,0xffff
    0d00000800           | or eax,0x80000
    81e20000ffff         | and edx,0xffff0000
    81ca008e0000         | or edx,0x8e00
    a370021000           | mov [idt+0x21*8],eax
    891574021000         | mov [idt+0x21*8+4],edx
    0f011d56011000       | lidt [idtr]
    b0ff                 | mov al,0xff
    e621                 | out 0x21,al
    e6a1                 | out 0xa1,al
    c705f000e0feff010000 | mov dword [0xfee000f0],0x1ff
    c7050000c0fe12000000 | mov dword [0xfec00000],0x12
    c7051000c0fe21000000 | mov dword [0xfec00010],0x21
    be00000f00           | mov esi,0xf0000
                         | .find:
    813e5f4d505f         | cmp dword [esi],'_MP_'
    7414                 | je .found
    83c610               | add esi,16
    81fe00001000         | cmp esi,0x100000
    72ed                 | jb .find
    b03f                 | mov al,'?'
    e84b000000           | call put
    eb47                 | jmp stop
                         | .found:
    8b7604               | mov esi,[esi+4]
    0fb74e22             | movzx ecx,word [esi+34]
    83c62c               | add esi,44
    bb30000000           | mov ebx,'0'
                         | .entry:
    ba08000000           | mov edx,8
    803e00               | cmp byte [esi],0
    7506                 | jne .next
    43                   | inc ebx
    ba14000000           | mov edx,20
                         | .next:
    01d6                 | add esi,edx
    e2ec                 | loop .entry
    88d8                 | mov al,bl
    e81f000000           | call put
    fb                   | sti
                         | .wait:
    f4                   | hlt
    803d6001100000       | cmp byte [code],0
    74f6                 | je .wait
    803d600110001e       | cmp byte [code],0x1e
    b061                 | mov al,'a'
    7402                 | je .say
    b021                 | mov al,'!'
                         | .say:
    e802000000           | call put
                         | stop:
    fa                   | cli
    f4                   | hlt
                         | put:
    8b1d5c011000         | mov ebx,[cursor]
    b407                 | mov ah,7
    6689841b00800b00     | mov [0xb8000+ebx*2],ax
    43                   | inc ebx
    891d5c011000         | mov [cursor],ebx
    66bad403             | mov dx,0x3d4
    b00f                 | mov al,0x0f
    88dc                 | mov ah,bl
    66ef                 | out dx,ax
    c3                   | ret
                         | key:
    50                   | push eax
    e460                 | in al,0x60
    84c0                 | test al,al
    7805                 | js .released
    a260011000           | mov [code],al
                         | .released:
    c705b000e0fe00000000 | mov dword [0xfee000b0],0
    58                   | pop eax
    cf                   | iret
    90909090909090       | align 8
    0000000000000000ffff0000009bcf00ffff00000093cf00 | gdt: dq 0,0x00cf9b000000ffff,0x00cf93000000ffff
    1700                 | gdtr: dw 23
    38011000             | dd gdt
    0f01                 | idtr: dw 0x22*8-1
    68011000             | dd idt
    00000000             | cursor: dd 0
    00                   | code: db 0
    90909090909090       | align 8
`);
/** Behind it, the interrupt descriptor table. */
const IDT_SIZE = 0x22 * 8;

it('finds its processors, its screen and its keyboard', async () => {
  const image = new Uint8Array(KERNEL.bytes.length + IDT_SIZE);
  image.set(KERNEL.bytes);
  let screen: TextScreen | undefined;
  const input = new PushInput();
  await using vmm = await assemble({
    backend: vmx(),
    memory: 16 << 20,
    cpus: 3,
    time: 'virtual',
    debugExit: false,
    plugins: [],
    console: { output: { write() {} }, input },
    boot: { image },
    screen: {
      keyboard: true,
      show: (shown) => {
        screen = shown;
        // The key is pressed once the kernel waits for it
        shown.watch(() => shown.cursor.column === 1 && input.push([0x61]));
      },
    },
  });
  const report = await vmm.run({ maxInstructions: 20e6 });
  expect(screen!.rows()[0].trimEnd()).toBe('3a');
  expect(screen!.cursor).toEqual({ row: 0, column: 2, visible: true });
  expect(report.reason).toBe('halted');
});
