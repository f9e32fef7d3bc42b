/** Encodings of VMCS fields against the SDM. */
import { describe, expect, it } from 'vitest';
import {
  VMCS_ENCODING_RESERVED,
  VMCS_FIELDS,
  VmcsField,
  isHighHalf,
  vmcsFieldIndex,
  vmcsFieldName,
  vmcsFieldType,
  vmcsFieldWidth,
} from './vmcs-fields.js';

describe('VMCS fields', () => {
  it('have encodings without reserved bits, even, and each once', () => {
    for (const { encoding } of VMCS_FIELDS) {
      expect(encoding & VMCS_ENCODING_RESERVED).toBe(0);
      expect(encoding & 1).toBe(0);
    }
    expect(new Set(VMCS_FIELDS.map(({ encoding }) => encoding)).size).toBe(VMCS_FIELDS.length);
  });

  it('say their type by their name', () => {
    for (const { name, type } of VMCS_FIELDS) {
      if (name.startsWith('HOST_')) expect(type).toBe('host');
      // The guest-physical and guest-linear address are exit information; the deadline shadow is a control
      else if (
        name.startsWith('GUEST_') &&
        !['GUEST_PHYSICAL_ADDRESS', 'GUEST_LINEAR_ADDRESS', 'GUEST_DEADLINE_SHADOW'].includes(name)
      )
        expect(type).toBe('guest');
      else if (/^EXIT_(REASON|QUALIFICATION|INTERRUPTION|INSTRUCTION)/.test(name)) expect(type).toBe('readonly');
    }
  });

  it('have the widths of their ranges (SDM 3D, appendix B)', () => {
    expect(vmcsFieldWidth(VmcsField.VPID)).toBe(16);
    expect(vmcsFieldWidth(VmcsField.EPT_POINTER)).toBe(64);
    expect(vmcsFieldWidth(VmcsField.EXIT_REASON)).toBe(32);
    expect(vmcsFieldWidth(VmcsField.GUEST_RIP)).toBe('natural');
    expect(vmcsFieldType(VmcsField.GUEST_RIP)).toBe('guest');
    expect(vmcsFieldIndex(VmcsField.GUEST_RIP)).toBe(15);
  });

  it('names both halves of 64-bit fields', () => {
    expect(isHighHalf(VmcsField.TSC_OFFSET + 1)).toBe(true);
    expect(isHighHalf(VmcsField.GUEST_RIP)).toBe(false);
    expect(vmcsFieldName(VmcsField.TSC_OFFSET + 1)).toBe('TSC_OFFSET');
    expect(vmcsFieldName(0x1234)).toBeUndefined();
  });
});
