/**
 * VM-entry checks on the guest-state area (SDM 3C 27.3.1). Returns 0 or the number of the rule that failed
 * (src/entry-rules.ts). Rules about the event to inject are in checkGuestInjection, which runs at every injection; the rest runs
 * only after the framework has written guest state or controls.
 */
import {
  ACTIVITY, CR0, CR3, CR4, DR, EFER, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, INTERRUPTIBILITY, MAXPHYADDR, MSR_DEBUGCTL, MSR_PAT,
  MSR_PERF_GLOBAL_CTRL, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, PDPTE, PENDING_DEBUG, RIP, SEG_AR, SEG_BASE, SEG_CS, SEG_DS, SEG_ES,
  SEG_FS, SEG_GS, SEG_LDTR, SEG_LIMIT, SEG_SEL, SEG_SS, SEG_TR,
} from "../../src/layout";
import { VMCS_REVISION, V_ENTRY_CONTROLS, V_LINK_POINTER, V_REGION } from "../../src/vmcs-layout";
import { readFlags } from "../flags";
import { F_LA57, hasFeature } from "../features";
import { CR0_PE, CR0_PG, CR4_PAE, CR4_PCIDE } from "../mode";
import { canonicalBase } from "../system/segments";
import {
  ENTRY_IA32E_GUEST, ENTRY_LOAD_DEBUG_CONTROLS, ENTRY_LOAD_EFER, ENTRY_LOAD_PAT, ENTRY_LOAD_PERF_GLOBAL_CTRL, PIN_VIRTUAL_NMIS,
  SECONDARY_UNRESTRICTED_GUEST, pinControl, secondaryControl,
} from "./controls";
import { badHostAddress } from "./entry-controls";
import {
  CR0_FIXED0, CR4_ALLOWED, DEBUGCTL_ALLOWED, EFER_ALLOWED, EFER_LMA_BIT, EFER_LME_BIT, PERF_GLOBAL_ALLOWED, patValid,
} from "./entry-values";
import { TYPE_EXTERNAL, TYPE_HARDWARE_EXCEPTION, TYPE_NMI, TYPE_OTHER } from "./exits";

const AR_S: u32 = 1 << 4;
const AR_P: u32 = 1 << 7;
const AR_L: u32 = 1 << 13;
const AR_DB: u32 = 1 << 14;
const AR_G: u32 = 1 << 15;
const AR_UNUSABLE: u32 = 1 << 16;
const AR_RESERVED: u32 = 0xfffe0f00;
const FLAG_TF: u32 = 1 << 8;
const FLAG_IF: u32 = 1 << 9;
const FLAG_VM: u32 = 1 << 17;
const BLOCKING_STI: u32 = 1;
const BLOCKING_MOV_SS: u32 = 2;
const BLOCKING_SMI: u32 = 4;
const BLOCKING_NMI: u32 = 8;
const PENDING_BS: u64 = 1 << 14;
const DEBUGCTL_BTF: u64 = 2;
const NO_LINK: u64 = 0xffffffffffffffff;

// @ts-ignore: decorator
@inline function rights(segment: u32): u32 { return load<u32>(SEG_AR + segment * 4); }
// @ts-ignore: decorator
@inline function usable(segment: u32): bool { return (rights(segment) & AR_UNUSABLE) == 0; }
// @ts-ignore: decorator
@inline function selector(segment: u32): u32 { return load<u32>(SEG_SEL + segment * 4) & 0xffff; }
// @ts-ignore: decorator
@inline function base(segment: u32): u64 { return load<u64>(SEG_BASE + segment * 8); }
// @ts-ignore: decorator
@inline function limit(segment: u32): u32 { return load<u32>(SEG_LIMIT + segment * 4); }
// @ts-ignore: decorator
@inline function dpl(segment: u32): u32 { return (rights(segment) >>> 5) & 3; }

/** The granularity bit must fit the limit (27.3.1.2). */
function badGranularity(segment: u32): bool {
  const l = limit(segment), g = (rights(segment) & AR_G) != 0;
  return ((l & 0xfff) != 0xfff && g) || ((l & 0xfff00000) != 0 && !g);
}

/** Control registers, debug registers and MSRs (27.3.1.1). */
function checkRegisters(entry: u32, unrestricted: bool): u32 {
  const cr0 = load<u64>(CR0), cr4 = load<u64>(CR4), ia32e = (entry & ENTRY_IA32E_GUEST) != 0;
  const fixed: u64 = unrestricted ? 0 : CR0_FIXED0;
  if ((cr0 & fixed) != fixed || (cr0 >> 32) != 0) return 100;
  if ((cr0 & CR0_PG) != 0 && (cr0 & CR0_PE) == 0) return 101;
  if ((cr4 & ~CR4_ALLOWED) != 0) return 102;
  if ((entry & ENTRY_LOAD_DEBUG_CONTROLS) && (load<u64>(MSR_DEBUGCTL) & ~DEBUGCTL_ALLOWED) != 0) return 103;
  if (ia32e && ((cr0 & CR0_PG) == 0 || (cr4 & CR4_PAE) == 0)) return 104;
  if (!ia32e && (cr4 & CR4_PCIDE) != 0) return 105;
  if ((load<u64>(CR3) >> load<u32>(MAXPHYADDR)) != 0) return 106;
  if ((entry & ENTRY_LOAD_DEBUG_CONTROLS) && (load<u64>(DR + 56) >> 32) != 0) return 107;
  if (!canonicalBase(load<u64>(MSR_SYSENTER_ESP)) || !canonicalBase(load<u64>(MSR_SYSENTER_EIP))) return 108;
  if ((entry & ENTRY_LOAD_PERF_GLOBAL_CTRL) && (load<u64>(MSR_PERF_GLOBAL_CTRL) & ~PERF_GLOBAL_ALLOWED) != 0) return 109;
  if ((entry & ENTRY_LOAD_PAT) && !patValid(load<u64>(MSR_PAT))) return 110;
  if (entry & ENTRY_LOAD_EFER) {
    const efer = load<u64>(EFER);
    if ((efer & ~EFER_ALLOWED) != 0) return 111;
    if (((efer & EFER_LMA_BIT) != 0) != ia32e) return 112;
    if ((cr0 & CR0_PG) != 0 && ((efer & EFER_LME_BIT) != 0) != ia32e) return 113;
  }
  return 0;
}

/** Selectors, bases and limits, and access rights in virtual-8086 mode (27.3.1.2). */
function checkVirtual8086(): u32 {
  for (let n: u32 = SEG_ES; n <= <u32>SEG_GS; n++) {
    if (base(n) != <u64>(selector(n) << 4)) return 120;
    if (limit(n) != 0xffff) return 121;
    if (rights(n) != 0xf3) return 122;
  }
  return 0;
}

function checkCodeSegment(ia32e: bool, unrestricted: bool): u32 {
  const ar = rights(SEG_CS), type = ar & 15, cpl = dpl(SEG_SS);
  const code = type == 9 || type == 11 || type == 13 || type == 15;
  if (!code && !(type == 3 && unrestricted)) return 130;
  if (!(ar & AR_S)) return 131;
  const d = dpl(SEG_CS);
  if (type == 3 && d != 0) return 132;
  if ((type == 9 || type == 11) && d != cpl) return 133;
  if ((type == 13 || type == 15) && d > cpl) return 134;
  if (!(ar & AR_P)) return 135;
  if ((ar & AR_RESERVED) != 0) return 136;
  if (ia32e && (ar & AR_L) && (ar & AR_DB)) return 137;
  if (badGranularity(SEG_CS)) return 138;
  return 0;
}

function checkStackSegment(unrestricted: bool): u32 {
  const ar = rights(SEG_SS), type = ar & 15, d = dpl(SEG_SS);
  if (usable(SEG_SS)) {
    if (type != 3 && type != 7) return 140;
    if (!(ar & AR_S)) return 141;
    if (!(ar & AR_P)) return 142;
    if ((ar & AR_RESERVED) != 0) return 143;
    if (badGranularity(SEG_SS)) return 144;
  }
  if (!unrestricted && d != (selector(SEG_SS) & 3)) return 145;
  if (d != 0 && ((rights(SEG_CS) & 15) == 3 || (load<u64>(CR0) & CR0_PE) == 0)) return 146;
  return 0;
}

function checkDataSegment(n: u32, unrestricted: bool): u32 {
  if (!usable(n)) return 0;
  const ar = rights(n), type = ar & 15;
  if ((type & 1) == 0) return 150;
  if ((type & 8) != 0 && (type & 2) == 0) return 151;
  if (!(ar & AR_S)) return 152;
  if (!unrestricted && type <= 11 && dpl(n) < (selector(n) & 3)) return 153;
  if (!(ar & AR_P)) return 154;
  if ((ar & AR_RESERVED) != 0) return 155;
  if (badGranularity(n)) return 156;
  return 0;
}

function checkSystemSegments(ia32e: bool): u32 {
  const tr = rights(SEG_TR), type = tr & 15;
  if ((selector(SEG_TR) & 4) != 0) return 160;
  if (!canonicalBase(base(SEG_TR))) return 161;
  if (type != 11 && (ia32e || type != 3)) return 162;
  if ((tr & AR_S) || !(tr & AR_P) || (tr & AR_RESERVED) != 0 || (tr & AR_UNUSABLE)) return 163;
  if (badGranularity(SEG_TR)) return 164;
  if (usable(SEG_LDTR)) {
    const ldtr = rights(SEG_LDTR);
    if ((selector(SEG_LDTR) & 4) != 0) return 165;
    if (!canonicalBase(base(SEG_LDTR))) return 166;
    if ((ldtr & 15) != 2) return 167;
    if ((ldtr & AR_S) || !(ldtr & AR_P) || (ldtr & AR_RESERVED) != 0) return 168;
    if (badGranularity(SEG_LDTR)) return 169;
  }
  return 0;
}

function checkSegments(ia32e: bool, unrestricted: bool, v86: bool): u32 {
  let rule: u32;
  if (!v86 && !unrestricted && (selector(SEG_SS) & 3) != (selector(SEG_CS) & 3)) return 123;
  if (v86) {
    rule = checkVirtual8086();
    if (rule != 0) return rule;
  } else {
    if ((base(SEG_CS) >> 32) != 0) return 124;
    if ((usable(SEG_SS) && (base(SEG_SS) >> 32) != 0) || (usable(SEG_DS) && (base(SEG_DS) >> 32) != 0)
      || (usable(SEG_ES) && (base(SEG_ES) >> 32) != 0)) return 125;
    rule = checkCodeSegment(ia32e, unrestricted);
    if (rule != 0) return rule;
    rule = checkStackSegment(unrestricted);
    if (rule != 0) return rule;
    for (let i = 0; i < 4; i++) {
      rule = checkDataSegment(i == 0 ? SEG_ES : i == 1 ? SEG_DS : i == 2 ? SEG_FS : SEG_GS, unrestricted);
      if (rule != 0) return rule;
    }
  }
  if (!canonicalBase(base(SEG_FS)) || !canonicalBase(base(SEG_GS))) return 126;
  return checkSystemSegments(ia32e);
}

/** Bits 63:N are the same, N being the width of linear addresses; bit N - 1 may differ, and paging may use fewer: the fetch is a general-protection fault then. */
function alikeAbove(rip: u64): bool {
  const top = <i64>rip >> (hasFeature(F_LA57) ? 57 : 48);
  return top == 0 || top == -1;
}

/** Descriptor-table registers, RIP and RFLAGS (27.3.1.3, 27.3.1.4). */
function checkTablesAndFlags(ia32e: bool): u32 {
  if (!canonicalBase(load<u64>(GDTR_BASE)) || !canonicalBase(load<u64>(IDTR_BASE))) return 170;
  if (load<u32>(GDTR_LIMIT) > 0xffff || load<u32>(IDTR_LIMIT) > 0xffff) return 171;
  const rip = load<u64>(RIP);
  if (ia32e && (rights(SEG_CS) & AR_L)) {
    if (!alikeAbove(rip)) return 172;
  } else if ((rip >> 32) != 0) return 173;
  const flags = readFlags();
  if ((flags & 0xffc08028) != 0 || (flags & 2) == 0) return 174;
  if ((flags & FLAG_VM) && (ia32e || (load<u64>(CR0) & CR0_PE) == 0)) return 175;
  return 0;
}

/** Activity, interruptibility and pending debug exceptions (27.3.1.5). */
function checkNonRegister(): u32 {
  const activity = load<u32>(ACTIVITY), blocking = load<u32>(INTERRUPTIBILITY), flags = readFlags();
  if (activity > 3) return 180;
  if (activity == 1 && dpl(SEG_SS) != 0) return 181;
  if (activity != 0 && (blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) != 0) return 182;
  if ((blocking & 0xfffffff0) != 0) return 183;
  if ((blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) == (BLOCKING_STI | BLOCKING_MOV_SS)) return 184;
  if ((blocking & BLOCKING_STI) && !(flags & FLAG_IF)) return 185;
  if (blocking & BLOCKING_SMI) return 186;
  const pending = load<u64>(PENDING_DEBUG);
  if ((pending & 0xffffffffffffaff0) != 0) return 187; // bit 16 too: there is no RTM
  if ((blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) != 0 || activity == 1) {
    const step = (flags & FLAG_TF) != 0 && (load<u64>(MSR_DEBUGCTL) & DEBUGCTL_BTF) == 0;
    if (((pending & PENDING_BS) != 0) != step) return 189;
  }
  return 0;
}

/** VMCS link pointer (27.3.1.5). Rule numbers 190-192 give exit qualification 4. */
function checkLinkPointer(): u32 {
  const link = load<u64>(V_LINK_POINTER);
  if (link == NO_LINK) return 0;
  if (badHostAddress(link, 4096, 4096)) return 190;
  if ((load<u32>(<usize>link) & 0x7fffffff) != VMCS_REVISION) return 191;
  if (<u32>link == load<u32>(V_REGION)) return 192;
  return 0;
}

/** PDPTEs with PAE paging (27.3.1.6). Rule number 195 gives exit qualification 2. */
function checkPdptes(ia32e: bool): u32 {
  if ((load<u64>(CR0) & CR0_PG) == 0 || (load<u64>(CR4) & CR4_PAE) == 0 || ia32e) return 0;
  for (let n = 0; n < 4; n++) {
    const entry = load<u64>(PDPTE + n * 8);
    if ((entry & 1) != 0 && ((entry & 0x1e6) != 0 || (entry >> load<u32>(MAXPHYADDR)) != 0)) return 195;
  }
  return 0;
}

/** All of 27.3.1 but for what depends on the event to inject. */
export function checkGuestState(): u32 {
  const entry = load<u32>(V_ENTRY_CONTROLS), unrestricted = secondaryControl(SECONDARY_UNRESTRICTED_GUEST);
  const ia32e = (entry & ENTRY_IA32E_GUEST) != 0, v86 = (readFlags() & FLAG_VM) != 0;
  let rule = checkRegisters(entry, unrestricted);
  if (rule == 0) rule = checkSegments(ia32e, unrestricted, v86);
  if (rule == 0) rule = checkTablesAndFlags(ia32e);
  if (rule == 0) rule = checkNonRegister();
  if (rule == 0) rule = checkLinkPointer();
  if (rule == 0) rule = checkPdptes(ia32e);
  return rule;
}

/** The guest state that an event to inject needs (27.3.1.4, 27.3.1.5). Rule number 202 gives exit qualification 3. */
export function checkGuestInjection(info: u32): u32 {
  const type = (info >>> 8) & 7, vector = info & 0xff, blocking = load<u32>(INTERRUPTIBILITY);
  if (type == TYPE_EXTERNAL) {
    if (!(readFlags() & FLAG_IF)) return 200;
    if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS)) return 201;
  } else if (type == TYPE_NMI) {
    if (blocking & BLOCKING_MOV_SS) return 202;
    if ((blocking & BLOCKING_NMI) && pinControl(PIN_VIRTUAL_NMIS)) return 203;
  }
  const activity = load<u32>(ACTIVITY);
  if (activity == 1) { // HLT
    const allowed = type == TYPE_EXTERNAL || type == TYPE_NMI || (type == TYPE_OTHER && vector == 0)
      || (type == TYPE_HARDWARE_EXCEPTION && (vector == 1 || vector == 18));
    if (!allowed) return 204;
  } else if (activity == 2) { // shutdown
    if (type != TYPE_NMI && !(type == TYPE_HARDWARE_EXCEPTION && vector == 18)) return 205;
  } else if (activity == 3) { // wait-for-SIPI
    return 206;
  }
  return 0;
}
