/** VM-instruction errors (Intel SDM volume 3C, 31.4) and VMX-abort indicators (28.7). */

export const VM_INSTRUCTION_ERRORS: { readonly [error: number]: string } = {
  1: 'VMCALL executed in VMX root operation',
  2: 'VMCLEAR with invalid physical address',
  3: 'VMCLEAR with VMXON pointer',
  4: 'VMLAUNCH with non-clear VMCS',
  5: 'VMRESUME with non-launched VMCS',
  6: 'VMRESUME after VMXOFF',
  7: 'VM entry with invalid control fields',
  8: 'VM entry with invalid host-state fields',
  9: 'VMPTRLD with invalid physical address',
  10: 'VMPTRLD with VMXON pointer',
  11: 'VMPTRLD with incorrect VMCS revision identifier',
  12: 'VMREAD or VMWRITE from or to an unsupported VMCS component',
  13: 'VMWRITE to a read-only VMCS component',
  15: 'VMXON executed in VMX root operation',
  16: 'VM entry with invalid executive-VMCS pointer',
  17: 'VM entry with non-launched executive VMCS',
  18: 'VM entry with executive-VMCS pointer that is not the VMXON pointer',
  19: 'VMCALL with non-clear VMCS',
  20: 'VMCALL with invalid VM-exit control fields',
  22: 'VMCALL with incorrect MSEG revision identifier',
  23: 'VMXOFF under dual-monitor treatment of SMIs and SMM',
  24: 'VMCALL with invalid SMM-monitor features',
  25: 'VM entry with invalid VM-execution control fields in executive VMCS',
  26: 'VM entry with events blocked by MOV SS',
  28: 'invalid operand to INVEPT or INVVPID',
};

export const VMX_ABORTS: { readonly [indicator: number]: string } = {
  1: 'a failure in saving guest MSRs',
  2: 'a failure in the host PDPTE checks',
  3: 'the current VMCS is corrupted',
  4: 'a failure in loading host MSRs',
  5: 'a machine check during VM exit',
  6: 'a 64-bit guest left to a 32-bit host',
};
